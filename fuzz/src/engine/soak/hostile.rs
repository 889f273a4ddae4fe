//! Packets that nobody should send.

use viaduct_topology::inventory::AttachmentId;
use viaduct_wire::{VNET_HEADER_LEN, protocol};

use super::{
    super::{network::Station, packets},
    conversation::{ACK, Conversation, FIN, RST, SYN, Words, build},
    dice::Dice,
};
use crate::input::Input;

/// Puts a hostile packet into the buffer; who sends it.
///
/// It may say anything, but its TCP sequence numbers are far from those of a conversation that
/// stands: who guesses them right may end it.
pub(super) fn packet(
    dice: &mut Dice,
    stations: &[Station],
    conversation: Option<&Conversation>,
    buffer: &mut Vec<u8>,
) -> AttachmentId {
    match (dice.below(8), conversation) {
        // Mostly sound, from and to addresses that mean something to somebody else.
        (0..=2, _) | (_, None) => {
            let station = dice.pick(stations);
            let bytes: [u8; 64] = dice.bytes();
            let mut input = Input::new(&bytes);
            *buffer = packets::fresh(&mut input, station.address);
            packets::damage(&mut input, buffer);
            station.id
        }
        // Segments of a conversation from somebody who does not know its numbers.
        (3..=5, Some(conversation)) => {
            let reply = dice.below(2) == 0;
            let far = |dice: &mut Dice| 0x4000_0000 + dice.below(0x8000_0000);
            // A SYN is none of a stranger's: once both are done, an end may begin anew when it likes.
            let flags = [RST, RST | ACK, SYN | ACK, FIN | ACK, ACK, 0, 0xff];
            let words = Words {
                reply,
                flags: *dice.pick(&flags),
                sequence: far(dice),
                acknowledgment: far(dice),
                payload: dice.below(64) as usize,
            };
            build(buffer, &conversation.flows(reply).0, &words);
            if reply { conversation.receiver } else { conversation.opener }
        }
        // A damaged one: the virtio-net header forged, or bytes of it changed, or cut off.
        (_, Some(conversation)) => {
            let reply = dice.below(2) == 0;
            let far =
                Words { reply, flags: 0, sequence: 1 << 30, acknowledgment: 1 << 30, payload: 40 };
            build(buffer, &conversation.flows(reply).0, &far);
            for _ in 0..=dice.below(4) {
                let from = if dice.below(3) == 0 { 0 } else { VNET_HEADER_LEN as u32 };
                let at = (from + dice.below(60)) as usize;
                // Not the flags: a RST without a checksum is a RST, and its number may be right.
                let flags = VNET_HEADER_LEN + 33;
                if at != flags || conversation.request.protocol != protocol::TCP {
                    buffer[at] = dice.next() as u8;
                }
            }
            if dice.below(4) == 0 {
                buffer.truncate(dice.below(buffer.len() as u32) as usize);
            }
            if reply { conversation.receiver } else { conversation.opener }
        }
    }
}
