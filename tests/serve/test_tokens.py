import hashlib

import pytest

from mu2net.errors import ConfigError
from mu2net.serve.tokens import ANYBODY, Principal, Tokens


def sha(token):
    return hashlib.sha256(token.encode()).hexdigest()


def write(tmp_path, *tables):
    file = tmp_path / "tokens.toml"
    file.write_text("".join(f"[[token]]\n{table}\n" for table in tables))
    return file


def table(name, token, tasks):
    return f'name = "{name}"\nsha256 = "{sha(token)}"\ntasks = {tasks}'


def test_a_token_is_known_by_its_hash(tmp_path):
    tokens = Tokens.read(
        write(tmp_path, table("lab", "s3cret", '["*", "patients"]'), table("web", "öffentlich", '["*"]'))
    )
    assert tokens.find(b"s3cret") == Principal("lab", frozenset(["*", "patients"]))
    assert tokens.find("öffentlich".encode()) == Principal("web", frozenset(["*"]))
    assert tokens.find(b"s3cre") is None
    assert tokens.find(b"") is None
    assert tokens.unknown_tasks(["birds"]) == ["patients"]
    assert tokens.unknown_tasks(["patients"]) == []


def test_private_tasks_have_to_be_named():
    assert ANYBODY.may_use("birds", is_private=False)
    assert not ANYBODY.may_use("patients", is_private=True)
    lab = Principal("lab", frozenset(["patients"]))
    assert lab.may_use("patients", is_private=True)
    assert not lab.may_use("birds", is_private=False)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (['name = "lab"'], "token.0.sha256: Field required"),
        ([table("lab", "a", "[]")], r"token\.0\.tasks: List should have at least 1 item"),
        ([table("lab", "a", '["*"]') + "\nscope = 1"], r"token\.0\.scope: Extra inputs are not permitted"),
        (['name = "lab"\nsha256 = "s3cret"\ntasks = ["*"]'], "token 'lab' has the sha256 's3cret'; expected 64"),
        ([table("lab", "a", '["*"]'), table("lab", "b", '["*"]')], "token 'lab' is there twice"),
        ([table("lab", "a", '["*"]'), table("web", "a", '["*"]')], "token 'web' is there twice"),
        (["name = lab"], "is no TOML"),
        ([], "token: Field required"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, tables, message):
    with pytest.raises(ConfigError, match=message):
        Tokens.read(write(tmp_path, *tables))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"tokens '.*nowhere' cannot be read: No such file"):
        Tokens.read(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        Tokens.read(tmp_path / "binary")
