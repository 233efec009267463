"""extraMounts of the configuration: what of the machine a node's pods find as hostPath volumes."""

from pathlib import Path

import pytest
from e2e_support import CommandFailed
from test_box import Machine

from support.isolated import isolated

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers:
  - name: client
    image: host
    command: [sleep, "1000000"]
    volumeMounts: [{name: data, mountPath: /data}, {name: fixed, mountPath: /fixed}, {name: both, mountPath: /both}]
  volumes:
  - {name: data, hostPath: {path: /opt/data}}
  - {name: fixed, hostPath: {path: /opt/fixed}}
  - {name: both, hostPath: {path: /opt, type: Directory}}
"""


@isolated
async def test_pods_see_a_directory_and_a_file_of_the_machine_and_write_only_where_they_may(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    data, fixed, file = tmp_path / "data", tmp_path / "fixed", tmp_path / "file"
    data.mkdir()
    fixed.mkdir()
    for path, text in ((data / "name", "data"), (fixed / "name", "fixed"), (file, "file")):
        path.write_text(text)
    config = tmp_path / "cluster.yaml"
    config.write_text(
        f"""\
isolated: true
nodes:
- extraMounts:
  - {{hostPath: {data}, containerPath: /opt/data}}
  - {{hostPath: {fixed}, containerPath: /opt/fixed, readOnly: true}}
  - {{hostPath: {file}, containerPath: /opt/file}}
"""
    )
    machine.sampan("up --name box1 --config", str(config))
    pod = tmp_path / "pod.yaml"
    pod.write_text(POD)
    machine.kubectl("apply -f", str(pod))
    machine.kubectl("wait --for=condition=Ready pod/client --timeout=60s")
    read = "cat /data/name /fixed/name /both/data/name /both/fixed/name /both/file"
    assert machine.kubectl("exec client -- sh -c", read) == "datafixeddatafixedfile"
    machine.kubectl("exec client -- sh -c", "echo -n written > /data/new")
    assert (data / "new").read_text() == "written"
    for place in ("/fixed", "/both/fixed"):
        with pytest.raises(CommandFailed, match="Read-only file system"):
            machine.kubectl("exec client -- sh -c", f"echo > {place}/new")
    assert not (fixed / "new").exists()
    assert "nothing of it is left" in machine.sampan("down --name box1")
    assert sorted(path.name for path in data.iterdir()) == ["name", "new"]
