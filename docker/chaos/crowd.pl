# Crowds the hand-over socket: ten thousand connections, with nonsense on every other one.
use strict;
use warnings;
use Socket;

my $many = 10_000;
my $address = pack_sockaddr_un('/run/viaduct/attach.sock');
my @kept;
# Whoever is hung up on is not killed for going on.
$SIG{PIPE} = 'IGNORE';
for my $number (1 .. $many) {
    socket(my $connection, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!";
    connect($connection, $address) or die "connect: $!";
    send($connection, 'nonsense', 0) if $number % 2;
    push @kept, $connection;
}
print "$many connections\n";
