import hashlib
import hmac

from pooldaemon_example.webhooks.signing import TOLERANCE_SECONDS, is_genuine, signature

BODY = b'{"event": "ping"}'


def test_a_signature_is_the_hmac_of_time_and_body() -> None:
    digest = hmac.new(b"secret", b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert signature("secret", 1700000000, BODY) == f"t=1700000000,v1={digest}"


def test_the_signature_of_the_body_is_genuine() -> None:
    assert is_genuine("secret", signature("secret", 100, BODY), BODY, now=100.5)


def test_another_secret_body_or_time_is_not_genuine() -> None:
    header = signature("secret", 100, BODY)
    assert not is_genuine("other", header, BODY, now=100)
    assert not is_genuine("secret", header, BODY + b" ", now=100)
    assert not is_genuine("secret", header.replace("t=100", "t=101"), BODY, now=100)


def test_an_old_signature_and_one_from_the_future_are_not_genuine() -> None:
    header = signature("secret", 10_000, BODY)
    assert is_genuine("secret", header, BODY, now=10_000 + TOLERANCE_SECONDS)
    assert not is_genuine("secret", header, BODY, now=10_000 + TOLERANCE_SECONDS + 1)
    assert not is_genuine("secret", header, BODY, now=10_000 - TOLERANCE_SECONDS - 1)


def test_a_malformed_header_is_not_genuine() -> None:
    good = signature("secret", 100, BODY)
    for header in (
        "",
        "t=100",
        good.upper(),
        f"{good}\n",
        good.replace("100", "\u0661\u0660\u0660"),
        "é",
    ):
        assert not is_genuine("secret", header, BODY, now=100)
