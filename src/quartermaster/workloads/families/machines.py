"""KubeVirt: a virtual machine is one pod; while it migrates it has a second, which is not needed to start."""

from __future__ import annotations

from quartermaster.workloads.fields import at, mapping, text
from quartermaster.workloads.group import Group, Json, Role
from quartermaster.workloads.reading import Reading

_WARNING = "evicting it is a power loss: give it a priority class of 100 or more, or say that it may not be"


def instance(read: Reading) -> tuple[Group, ...]:
    """One launcher pod."""
    spec = {"priorityClassName": text(read.spec, "priorityClassName", where="spec")}
    template: Json = {"metadata": mapping(read.top, "metadata"), "spec": spec}
    return (read.gang([Role.of("virt-launcher", 1, template=template)], why=["one pod runs the machine", _WARNING]),)


def machine(read: Reading) -> tuple[Group, ...]:
    """Its instance, while it is to run."""
    child = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        **mapping(read.spec, "template", where="spec"),
    }
    running = at(read.spec, "running", where="spec")
    strategy = text(read.spec, "runStrategy", where="spec")
    halted = running is False or (running is None and strategy in ("Halted", "Manual"))
    return read.within(child, where="spec.template", suspended=halted)
