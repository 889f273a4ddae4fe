//! Translating an ICMP error together with the packet that it quotes.

use viaduct_wire::{Flow, L4, Quoted, Rewrite, protocol};

use super::{
    Task, parse,
    rewriting::{one_zero, plain},
};
use crate::oracle::{Sums, header_len, sum, sums, word};

/// The length of an ICMP header.
const ICMP: usize = 8;

pub(super) fn are_translated(buffer: &[u8], task: &Task, quoted: Option<Quoted>) {
    let Some(Quoted { flow: inner, .. }) = quoted else {
        not_to_be_acted_on(buffer, task);
        return;
    };
    let mut bytes = buffer.to_vec();
    let mut frame = parse(&mut bytes, task.mtu);
    let outer = frame.flow();
    let before = plain_error(plain(&frame));
    let quote_before = quote_sums(frame.ip());

    // The packet went from the outer destination, so that is where it came from again.
    let sent = Flow {
        source: task.to.destination,
        destination: task.to.source,
        source_port: task.to.source_port,
        destination_port: task.to.destination_port,
        ..inner
    };
    frame.rewrite_icmp_error(task.to.source, task.to.destination, &sent);

    assert_eq!((frame.source(), frame.destination()), (task.to.source, task.to.destination));
    let Quoted { flow: seen, .. } = frame.quoted().expect("the checksums of a translated error");
    assert_eq!((seen.source, seen.destination), (sent.source, sent.destination));
    let has_ports = matches!(inner.protocol, protocol::TCP | protocol::UDP);
    if has_ports {
        assert_eq!(seen, sent);
    }
    assert_eq!(
        sums(frame.ip()),
        Sums { header: true, transport: Some(true) },
        "the error's own checksums"
    );
    let quote_after = quote_sums(frame.ip());
    assert_eq!(quote_after.0, quote_before.0, "the quoted header's checksum");
    // Nobody looks at a quoted echo's, so that it may be either zero.
    if inner.protocol != protocol::ICMP || quote_before.1.and(quote_after.1).is_some() {
        assert_eq!(quote_after.1, quote_before.1, "the quoted transport's checksum");
    }

    frame.rewrite_icmp_error(outer.source, outer.destination, &inner);
    assert_eq!(plain_error(plain(&frame)), before, "what was done is not undone");
}

/// Where there is no quote to act on, only the outer header changes; nothing panics.
fn not_to_be_acted_on(buffer: &[u8], task: &Task) {
    let mut bytes = buffer.to_vec();
    let mut frame = parse(&mut bytes, task.mtu);
    let l4 = frame.l4();
    let behind = frame.ip()[header_len(frame.ip())..].to_vec();
    frame.rewrite_icmp_error(task.to.source, task.to.destination, &task.to);
    assert_eq!((frame.source(), frame.destination()), (task.to.source, task.to.destination));
    assert_eq!(sum(&[&frame.ip()[..header_len(frame.ip())]]), 0xffff);
    if !matches!(l4, L4::IcmpError { .. }) {
        assert_eq!(frame.ip()[header_len(frame.ip())..], behind);
        frame.rewrite(&Rewrite::from(task.to));
    }
}

/// The checksums of the packet that an error quotes: its IP header's, and its transport's if all
/// that this covers is quoted.
fn quote_sums(ip: &[u8]) -> (bool, Option<bool>) {
    let quoted = &ip[header_len(ip) + ICMP..];
    let header = sum(&[&quoted[..header_len(quoted)]]) == 0xffff;
    let total = usize::from(word(quoted, 2));
    let Some(whole) = quoted.get(..total) else { return (header, None) };
    let segment = total - header_len(quoted);
    let readable = match quoted[9] {
        protocol::TCP => segment >= 20,
        protocol::UDP => {
            segment >= 8 && (8..=segment).contains(&word(whole, total - segment + 4).into())
        }
        protocol::ICMP => segment >= 8,
        _ => false,
    };
    (header, if readable { sums(whole).transport } else { None })
}

/// One form of zero in the quoted checksums that know two.
fn plain_error(mut ip: Vec<u8>) -> Vec<u8> {
    let quote = header_len(&ip) + ICMP;
    let transport = quote + header_len(&ip[quote..]);
    one_zero(&mut ip, quote + 10);
    match ip[quote + 9] {
        protocol::TCP => one_zero(&mut ip, transport + 16),
        protocol::ICMP => one_zero(&mut ip, transport + 2),
        _ => {}
    }
    ip
}
