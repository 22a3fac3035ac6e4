"""Socket options that make the system end a silent connection."""

import socket

import pytest

pytest.importorskip("MySQLdb")  # its package needs it

from pooldaemon.pool.drivers.mysql.keepalive import KEEPALIVE_IDLE, SILENCE_LIMIT, notice_silence

linux_only = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux"
)


@linux_only
def test_a_tcp_connection_is_given_up_after_so_much_silence() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        notice_silence(client.fileno())
        options = {
            name: client.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert options["TCP_USER_TIMEOUT"] == SILENCE_LIMIT * 1000
        asked = options["TCP_KEEPINTVL"] * options["TCP_KEEPCNT"]
        assert options["TCP_KEEPIDLE"] + asked == SILENCE_LIMIT
        assert options["TCP_KEEPIDLE"] == KEEPALIVE_IDLE


def test_a_local_socket_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    notice_silence(ours.fileno())
    ours.send(b"still open")
    assert theirs.recv(10) == b"still open"
    ours.close()
    theirs.close()
