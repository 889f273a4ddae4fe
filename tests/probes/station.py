"""Sends packets from a host, made by scapy, and tells of each that comes in.

Each line of standard input is a JSON list of packets to send; once they are, it says `"sent"`. Each
packet that comes in is a line of JSON on standard output, until standard input ends. What a packet
is made of:

  source, destination           addresses
  protocol                      tcp, udp or icmp
  source_port, port             of TCP and UDP; source_port also the identifier of ICMP
  flags, seq                    of TCP: a SYN, if not given
  type, code                    of ICMP
  about                         of an ICMP error: the packet it is about, made of the same
  options                       names of IP options
  spoiled                       which checksum is wrong: transport, about (the header of the packet
                                that an error is about), or about_transport

What comes in is told in the same words, and sound says whether its checksums are right.
"""

import json
import select
import socket
import sys
import time

from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_RR,
    IPOption_Router_Alert,
    IPOption_SSRR,
    IPOption_Timestamp,
)

PACKET_OUTGOING = 4
# Far below what any queue on the way holds.
PAUSE = 0.001

OPTIONS = {
    "loose_source_route": lambda to: IPOption_LSRR(routers=[to]),
    "strict_source_route": lambda to: IPOption_SSRR(routers=[to]),
    "record_route": lambda _: IPOption_RR(routers=["0.0.0.0"] * 3),
    "timestamp": lambda _: IPOption_Timestamp(timestamp=0),
    "router_alert": lambda _: IPOption_Router_Alert(),
    "nop": lambda _: IPOption_NOP(),
}


def packet(wanted):
    to = wanted["destination"]
    ip = IP(src=wanted["source"], dst=to)
    ip.options = [OPTIONS[name](to) for name in wanted.get("options", [])]
    transport = {
        "tcp": lambda: TCP(
            sport=wanted["source_port"],
            dport=wanted["port"],
            flags=wanted.get("flags", "S"),
            seq=wanted.get("seq", 0),
        ),
        "udp": lambda: UDP(sport=wanted["source_port"], dport=wanted["port"]) / b"who is there?",
        "icmp": lambda: icmp(wanted),
    }[wanted["protocol"]]()
    if wanted.get("spoiled") == "transport":
        sound = IP(bytes(ip / transport)).payload
        transport.chksum = sound.chksum ^ 0x5555
    return ip / transport


def icmp(wanted):
    header = ICMP(type=wanted["type"], code=wanted["code"])
    if "about" not in wanted:
        header.id = wanted["source_port"]
        # The times of a timestamp message, the data of an echo.
        return header / bytes(12)
    about = IP(bytes(packet(wanted["about"])))
    if wanted.get("spoiled") == "about":
        about.chksum ^= 0x5555
    if wanted.get("spoiled") == "about_transport":
        about.payload.chksum ^= 0x5555
    return header / about


def told_of(data):
    ip = IP(data)
    told = {"source": ip.src, "destination": ip.dst, "ttl": ip.ttl}
    told["options"] = [type(option).__name__ for option in ip.options]
    transport = ip.payload
    if isinstance(transport, TCP):
        told |= {"protocol": "tcp", "flags": str(transport.flags)}
        told |= {"seq": transport.seq, "ack": transport.ack}
        told |= {"source_port": transport.sport, "port": transport.dport}
    elif isinstance(transport, UDP):
        told |= {"protocol": "udp", "source_port": transport.sport, "port": transport.dport}
    elif isinstance(transport, ICMP):
        told |= {"protocol": "icmp", "type": transport.type, "code": transport.code}
        if transport.type in (3, 11, 12):
            told["about"] = told_of(bytes(transport.payload))
        else:
            told["source_port"] = transport.id
    return told


def is_sound(data):
    """Whether a packet is what it becomes when its checksums are made anew."""
    ip = IP(data)
    del ip.chksum
    if hasattr(ip.payload, "chksum"):
        del ip.payload.chksum
    return bytes(ip) == data


def main():
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    device.bind(("eth0", 0x0800))
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [])
        if device in ready:
            data, address = device.recvfrom(65535)
            if address[2] != PACKET_OUTGOING:
                print(json.dumps(told_of(data) | {"sound": is_sound(data)}), flush=True)
        if sys.stdin in ready:
            line = sys.stdin.buffer.readline()
            if not line:
                return
            for wanted in json.loads(line):
                device.send(bytes(packet(wanted)))
                time.sleep(PAUSE)
            print('"sent"', flush=True)


main()
