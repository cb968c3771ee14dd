import socket

from lorajobs.embedded.ports import free_port, is_free


def test_a_taken_port_is_replaced_and_a_free_one_kept() -> None:
    free = free_port()
    assert free_port(free) == free
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert not is_free("127.0.0.1", taken)
        other = free_port(taken)
    assert other != taken
    assert is_free("127.0.0.1", other)
