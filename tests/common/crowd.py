"""One process of many TCP connections, for tests/connections.rs; told what to do line by line.

    crowd.py serve PORT    accepts whatever comes and sends back what it is sent; several processes
                           may share a port
    crowd.py connect       opens connections and keeps them

Commands on standard input, each answered with a line of JSON:

    open COUNT HOST PORT   opens so many, and answers when all of them are established
    try HOST PORT          begins to open one more, and answers at once
    forget                 no longer tries
    echo                   sends 16 random bytes over each, and answers when all came back
    report                 the connections that a server has, by the addresses and ports of their peers

The end of standard input ends the process.
"""

import errno
import json
import os
import resource
import select
import socket
import sys

# Connections that are being opened, or bytes that are under way, at any time: few enough for every
# queue on the way.
AT_ONCE = 128
# Longer than anything takes on a busy machine.
PATIENCE_SECONDS = 60
LENGTH = 16


def allow_files():
    """As many descriptors as one process may have at all."""
    most = int(open("/proc/sys/fs/nr_open").read())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (PermissionError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def allow_ports():
    """All the ports there are for this namespace's clients: the system looks for a free one by
    trying, and takes long when few are left."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as range_of_ports:
            range_of_ports.write("1024 65535")
    except OSError:
        pass  # slower, and as good


def answer(**fields):
    print(json.dumps(fields), flush=True)


def commands():
    for line in iter(sys.stdin.readline, ""):
        yield line.split()


def wait(poll):
    ready = poll.poll(PATIENCE_SECONDS)
    if not ready:
        raise TimeoutError(f"nothing happened for {PATIENCE_SECONDS} s")
    return ready


class Client:
    def __init__(self):
        self.open = {}

    def begin(self, to):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        failed = connection.connect_ex(to)
        if failed not in (0, errno.EINPROGRESS):
            raise OSError(failed, os.strerror(failed))
        return connection

    def open_more(self, count, to):
        poll = select.epoll()
        begun, opening = 0, {}
        while begun < count or opening:
            while begun < count and len(opening) < AT_ONCE:
                connection = self.begin(to)
                begun += 1
                opening[connection.fileno()] = connection
                poll.register(connection.fileno(), select.EPOLLOUT)
            for number, _ in wait(poll):
                connection = opening.pop(number)
                poll.unregister(number)
                failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    raise OSError(failed, os.strerror(failed))
                self.open[number] = connection
        answer(open=len(self.open))

    def echo(self):
        poll = select.epoll()
        waiting, rest = {}, iter(self.open.items())
        echoed, more = 0, True
        while more or waiting:
            while more and len(waiting) < AT_ONCE:
                number, connection = next(rest, (None, None))
                if connection is None:
                    more = False
                    break
                words = os.urandom(LENGTH)
                assert connection.send(words) == LENGTH
                waiting[number] = (connection, words, b"")
                poll.register(number, select.EPOLLIN)
            for number, _ in wait(poll) if waiting else ():
                connection, words, before = waiting[number]
                came = connection.recv(LENGTH + 1)
                if not came or not words.startswith(before + came):
                    raise ValueError(f"{words.hex()} came back as {(before + came).hex()}")
                waiting[number] = (connection, words, before + came)
                if before + came == words:
                    del waiting[number]
                    poll.unregister(number)
                    echoed += 1
        answer(echoed=echoed)

    def run(self):
        for command, *words in commands():
            if command == "open":
                count, host, port = words
                self.open_more(int(count), (host, int(port)))
            elif command == "try":
                host, port = words
                self.tried = self.begin((host, int(port)))
                answer(tried=self.tried.getsockname()[1])
            elif command == "forget":
                self.tried.close()
                answer(forgotten=True)
            elif command == "echo":
                self.echo()
            else:
                raise ValueError(f"unknown command {command}")


def serve(port):
    listener = socket.create_server(("0.0.0.0", port), backlog=4096, reuse_port=True)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    connections, peers = {}, {}
    answer(listening=port)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                try:
                    connection, peer = listener.accept()
                except BlockingIOError:
                    continue
                connection.setblocking(False)
                connections[connection.fileno()] = connection
                peers[connection.fileno()] = peer
                poll.register(connection.fileno(), select.EPOLLIN)
            elif number == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                answer(peers=list(peers.values()))
            else:
                try:
                    said = connections[number].recv(1 << 16)
                except ConnectionResetError:
                    said = b""
                if said:
                    connections[number].sendall(said)
                else:
                    connections.pop(number).close()
                    del peers[number]


allow_files()
if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    allow_ports()
    Client().run()
