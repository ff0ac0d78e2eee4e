"""`embryofl-clinic verify` against releases that ssh-keygen has signed."""

import hashlib
import subprocess

import pytest

from embryofl.errors import UserError
from embryofl_clinic.cli.release import check_release


def make_key(folder, name, *options):
    """A private key; returns its path and its fingerprint."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-N", "", *(options or ("-t", "ed25519")), "-f", path], check=True)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout
    return path, shown.split()[1]


def sign(folder, key, namespace="embryofl-release"):
    (folder / "SHA256SUMS.sig").unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", key, folder / "SHA256SUMS"]
    subprocess.run(command, check=True, capture_output=True)


def write_sums(folder):
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.tar.gz"))]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path, "key")


@pytest.fixture
def image(tmp_path, key):
    folder = tmp_path / "release"
    folder.mkdir()
    for name in ("clinic", "server"):
        (folder / f"{name}.tar.gz").write_bytes(name.encode() * 100)
    write_sums(folder)
    sign(folder, key[0])
    return folder / "clinic.tar.gz"


def test_file_of_a_signed_release_is_accepted(image, key):
    check_release(image, key[1])


def test_changed_archive_is_refused(image, key):
    image.write_bytes(b"another")
    with pytest.raises(UserError, match=r"clinic.tar.gz is not as it was signed.*Do not load it.*\(S13:"):
        check_release(image, key[1])


def test_archive_under_the_name_of_another_is_refused(image, key):
    image.write_bytes((image.parent / "server.tar.gz").read_bytes())
    with pytest.raises(UserError, match="is not as it was signed"):
        check_release(image, key[1])


def test_changed_checksums_are_refused(image, key):
    image.write_bytes(b"another")
    write_sums(image.parent)
    with pytest.raises(UserError, match="SHA256SUMS.sig does not sign SHA256SUMS: it is damaged, or of another file"):
        check_release(image, key[1])


def test_release_signed_with_another_key_is_refused(image, key, tmp_path):
    image.write_bytes(b"another")
    write_sums(image.parent)
    other, fingerprint = make_key(tmp_path, "other")
    sign(image.parent, other)
    with pytest.raises(UserError, match=f"that {fingerprint} has signed, expected {key[1]}".replace("+", r"\+")):
        check_release(image, key[1])


def test_signature_of_something_else_is_refused(image, key):
    sign(image.parent, key[0], namespace="file")
    with pytest.raises(UserError, match="a signature of something else than a release"):
        check_release(image, key[1])


def test_key_of_another_kind_is_refused(image, tmp_path):
    other, fingerprint = make_key(tmp_path, "rsa", "-t", "rsa", "-b", "2048")
    sign(image.parent, other)
    with pytest.raises(UserError, match="it is made with a key that is not Ed25519"):
        check_release(image, fingerprint)


@pytest.mark.parametrize(
    "change", [lambda t: t[:200], lambda t: t.replace(b"A", b"B"), lambda t: b"", lambda t: b"\xff"]
)
def test_damaged_signature_is_refused(image, key, change):
    path = image.parent / "SHA256SUMS.sig"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match="SHA256SUMS.sig does not sign SHA256SUMS"):
        check_release(image, key[1])


def test_release_without_a_signature_is_refused(image, key):
    (image.parent / "SHA256SUMS.sig").unlink()
    with pytest.raises(UserError, match="SHA256SUMS.sig cannot be read"):
        check_release(image, key[1])
