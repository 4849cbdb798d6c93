"""What attackers have in common: ways in, and reading whatever comes back."""
import socket

from .wire import Closed

# The same bytes, whole or one by one, in the clear or encrypted.
WAYS = ("plain", "pieces", "tls", "tls-pieces")


def tls_settings(certs, mode="allow"):
    return dict(client_tls_sslmode=mode, client_tls_key_file=certs.key("server"),
                client_tls_cert_file=certs.crt("server"), client_tls_ca_file=certs.crt("ca"))


def enter(p, way="plain", **how):
    """A connection that has said nothing yet."""
    c = p.wire(**how)
    try:
        if way.startswith("tls"):
            c.tls()
        if way.endswith("pieces"):
            whole = c.send
            c.send = lambda *parts: [whole(bytes([b])) for b in b"".join(parts)]
    except BaseException:
        c.close()
        raise
    return c


def drain(c):
    """All messages up to the end of the connection, which must come."""
    out = []
    while True:
        try:
            out.append(c.recv())
        except (TimeoutError, socket.timeout):
            raise AssertionError("neither an answer nor the end after %r" % (out,)) from None
        except (Closed, OSError):
            return out


def attempt(c, *parts):
    """Send, though the other side may have hung up; then all that came back."""
    try:
        c.send(*parts)
    except (Closed, OSError) as e:
        assert not isinstance(e, (TimeoutError, socket.timeout)), "not read, and not closed either"
    return drain(c)


def never_let_in(messages):
    """Neither AuthenticationOk nor anything that only comes later."""
    kinds = [m.type for m in messages]
    assert not [m for m in messages if m.type == b"R" and m.body[:4] == b"\0\0\0\0"], messages
    assert not set(kinds) & set(b"ZKTDC"[i:i + 1] for i in range(5)), messages
