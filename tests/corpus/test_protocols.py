"""s3://, gs://, hf://: URLs, options and changes go through to the file systems, and what comes back is the corpus.

The file systems are stand-ins under these names, so that what is tested is ours and fsspec's part of the way. S3 is
read from a server, too, where `moto` and `s3fs` are installed.
"""

import gzip
import hashlib
import importlib
import io
import json

import numpy as np
import pytest

from cs336 import corpus as corpora
from cs336.inputs import expand
from cs336.shards import read_manifest
from cs336.tokenizer import Tokenizer

TEXTS = [f"{number} größer\n" * (number % 7) for number in range(200)]


@pytest.fixture
def tokenizer():
    return Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])


def objects():
    """Two files of lines and something else."""
    lines = ["".join(json.dumps({"text": text}) + "\n" for text in TEXTS[part::2]).encode() for part in range(2)]
    return {"bucket/in/0.jsonl": lines[0], "bucket/in/deep/1.jsonl.gz": gzip.compress(lines[1]), "bucket/in/c.pdf": b""}


def bucket_of(protocol, content):
    """A store that wants a token, and remembers its listings as the real ones do."""
    fsspec = pytest.importorskip("fsspec")

    class Bucket(fsspec.AbstractFileSystem):
        cachable = False

        def __init__(self, token=None, **options):
            super().__init__(**options)
            self.token = token

        def ls(self, path, detail=True, **_):
            if self.token != "secret":
                raise PermissionError(13, "Forbidden", path)
            path = self._strip_protocol(path)
            found = listings.get(path) or listings.setdefault(path, self.listing(path))
            if not found:
                raise FileNotFoundError(path)
            return list(found.values()) if detail else list(found)

        def listing(self, path):
            found = {}
            for name, body in content.items():
                if name == path:
                    etag = hashlib.md5(body).hexdigest()
                    found[name] = {"name": name, "size": len(body), "type": "file", "ETag": etag}
                elif name.startswith(f"{path}/"):
                    child = f"{path}/{name[len(path) + 1 :].split('/')[0]}"
                    found |= (
                        self.listing(child)
                        if child == name
                        else {child: {"name": child, "size": 0, "type": "directory"}}
                    )
            return found

        def invalidate_cache(self, path=None):
            listings.clear()

        def _open(self, path, mode="rb", **_):
            return io.BytesIO(content[path])

    listings: dict[str, dict] = {}
    Bucket.protocol = protocol
    return Bucket


@pytest.fixture(params=["s3", "gs", "hf"])
def remote(request, monkeypatch):
    """The name of a protocol and what it stores."""
    fsspec = pytest.importorskip("fsspec")
    content = objects()
    known = importlib.import_module("fsspec.registry")._registry
    monkeypatch.setitem(known, request.param, bucket_of(request.param, content))
    monkeypatch.setitem(fsspec.config.conf, request.param, {"token": "secret"})
    return request.param, content


def made(inputs, out, tokenizer):
    assert corpora.run(corpora.plan(inputs, tokenizer=tokenizer, out=out, tokens_per_shard=3_000)).is_finished
    assert not corpora.verify(out, inputs=True).problems
    shards = read_manifest(out).of_split("train")  # which are cut otherwise: a remote file is a task of its own
    return np.concatenate([np.load(out / shard.file) for shard in shards]).tolist()


def test_patterns_and_directories_are_found_and_read(remote, tokenizer, tmp_path):
    protocol, content = remote
    names = [f"{protocol}://bucket/in/0.jsonl", f"{protocol}://bucket/in/deep/1.jsonl.gz"]
    assert [file.name for file in expand(f"{protocol}://bucket/in")] == names
    assert [file.name for file in expand(f"{protocol}://bucket/in/*.jsonl")] == names[:1]
    assert [file.size_bytes for file in expand(f"{protocol}://bucket/in/**/*.gz")] == [
        len(content["bucket/in/deep/1.jsonl.gz"])
    ]
    for name, body in content.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    local = made(tmp_path / "bucket" / "in", tmp_path / "local", tokenizer)
    assert made(f"{protocol}://bucket/in", tmp_path / "out", tokenizer) == local
    assert corpora.Plan.load(tmp_path / "out").inputs[0].name == names[0]


def test_an_object_that_changed_since_it_was_planned_is_refused(remote, tokenizer, tmp_path):
    protocol, content = remote
    plan = corpora.plan(f"{protocol}://bucket/in", tokenizer=tokenizer, out=tmp_path / "out")
    content["bucket/in/0.jsonl"] = content["bucket/in/0.jsonl"].replace(b"1", b"2")
    with pytest.raises(ValueError, match=rf"{protocol}://bucket/in/0.jsonl has changed since it was planned"):
        corpora.run(plan)


def test_what_the_store_refuses_is_told(remote, tokenizer, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    protocol, _ = remote
    monkeypatch.setitem(fsspec.config.conf, protocol, {"token": "wrong"})
    with pytest.raises(PermissionError, match="Forbidden"):
        corpora.plan(f"{protocol}://bucket/in", tokenizer=tokenizer, out=tmp_path / "out")


def test_s3_itself(tokenizer, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    fsspec = pytest.importorskip("fsspec")
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}"}
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        store = fsspec.filesystem("s3")
        store.mkdir("bucket")
        content = objects()
        for name, body in content.items():
            store.pipe(name, body)
        local = tmp_path / "in"
        for name, body in content.items():
            path = local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        expected = made(local, tmp_path / "local", tokenizer)
        assert made("s3://bucket/in", tmp_path / "out", tokenizer) == expected
        plan = corpora.plan("s3://bucket/in/*.jsonl", tokenizer=tokenizer, out=tmp_path / "changed")
        server_side = fsspec.filesystem("s3", skip_instance_cache=True)
        server_side.pipe("bucket/in/0.jsonl", content["bucket/in/0.jsonl"].replace(b"1", b"2"))
        with pytest.raises(ValueError, match="has changed since it was planned"):
            corpora.run(plan)
    finally:
        server.stop()
