"""What people are told, situation by situation, word for word: tests/golden/explanations.txt.

Each case is a snapshot of which one cycle is held. A sentence that changes shows up here, to be read before it is sent
to anybody: then write what `report` gives into the golden file.
"""

from pathlib import Path

from quartermaster.documents.snapshot import read
from quartermaster.scheduling.cycle import Policies, cycle
from quartermaster.scheduling.policies.simple import BinPack
from quartermaster.testing.scenarios.deciding import NoChance

GOLDEN = Path(__file__).parents[2] / "golden" / "explanations.txt"

CASES = {
    "no node fits": """
cluster: {nodes: [{name: n, count: 2, gpus: 4}, {name: big, gpus: 8, schedulable: false}, {name: c}]}
workloads: [{name: w, pod: {gpus: 8}}]
""",
    "a gang of which some fit": """
cluster: {nodes: [{name: n, count: 3, gpus: 4}]}
workloads: [{name: w, count: 4, pod: {gpus: 4}}]
""",
    "the best domain is short": """
cluster: {nodes: [{name: a, count: 3, gpus: 4, labels: {rack: r1}}, {name: b, count: 2, gpus: 4, labels: {rack: r2}}],
          topologies: [{name: net, levels: [rack]}]}
workloads: [{name: w, count: 4, pod: {gpus: 4}, topology: {topology: net, required: rack}}]
""",
    "no node is in a domain": """
cluster: {nodes: [{name: a, gpus: 4}], topologies: [{name: net, levels: [rack]}]}
workloads: [{name: w, pod: {gpus: 4}, topology: {topology: net, required: rack}}]
""",
    "the domain of those that run is full": """
cluster: {nodes: [{name: a, gpus: 4, labels: {rack: r1}}, {name: b, gpus: 4, labels: {rack: r2}}],
          topologies: [{name: net, levels: [rack]}]}
workloads: [{name: w, count: 3, pod: {gpus: 2}, topology: {topology: net, required: rack}, stale-since: 0,
             places: {w-0: {node: a, devices: [0, 1]}, w-1: {node: a, devices: [2, 3]}}}]
""",
    "an ancestor is at its limit": """
cluster: {nodes: [{name: n, count: 2, gpus: 4}]}
queues: [{name: org, gpu: {limit: 6}}, {name: team, parent: org, gpu: {deserved: 8}}]
workloads:
  - {name: old, queue: team, pod: {gpus: 4}, started: 0, places: {old-0: {node: n-0, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: team, pod: {gpus: 4}}
""",
    "non-preemptible work above what is deserved": """
cluster: {nodes: [{name: n, count: 2, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b}]
workloads:
  - {name: old, queue: a, priority: 100, pod: {gpus: 4}, places: {old-0: {node: n-0, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: a, priority: 100, pod: {gpus: 2}}
""",
    "a reclaim that fair share refuses": """
cluster: {nodes: [{name: n, count: 2, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b, gpu: {deserved: 4}}]
workloads:
  - {name: own, queue: a, pod: {gpus: 4}, started: 0, places: {own-0: {node: n-0, devices: [0, 1, 2, 3]}}}
  - {name: other, queue: b, pod: {gpus: 4}, started: 0, places: {other-0: {node: n-1, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: a, pod: {gpus: 2}}
""",
    "one GPU short, whoever goes": """
cluster: {nodes: [{name: n, gpus: 8}]}
queues: [{name: a, gpu: {deserved: 8}}, {name: b}]
workloads:
  - {name: firm, queue: b, priority: 100, preemptible: false, pod: {gpus: 1}, started: 0,
     places: {firm-0: {node: n, devices: [0]}}}
  - {name: guest, queue: b, count: 7, min: 1, pod: {gpus: 1}, started: 0, places: {guest-0: {node: n, devices: [1]},
     guest-1: {node: n, devices: [2]}, guest-2: {node: n, devices: [3]}, guest-3: {node: n, devices: [4]},
     guest-4: {node: n, devices: [5]}, guest-5: {node: n, devices: [6]}, guest-6: {node: n, devices: [7]}}}
  - {name: w, queue: a, count: 8, pod: {gpus: 1}}
""",
    "a minimum run time protects": """
now: 60
cluster: {nodes: [{name: n, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b, reclaim-min-runtime: 10m}]
workloads:
  - {name: guest, queue: b, pod: {gpus: 4}, started: 0, places: {guest-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: a, pod: {gpus: 4}}
""",
    "a disruption budget protects": """
cluster: {nodes: [{name: n, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b}]
budgets: [{name: keep, allowed: 0, match: {app: web}}]
workloads:
  - {name: guest, queue: b, pod: {gpus: 4, labels: {app: web}}, started: 0,
     places: {guest-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: a, pod: {gpus: 4}}
""",
    "a preemption delay": """
now: 60
cluster: {nodes: [{name: n, gpus: 4}]}
workloads:
  - {name: low, priority: 10, pod: {gpus: 4}, started: 0, places: {low-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, at: 50, preemption-delay: 5m, pod: {gpus: 4}}
""",
    "work that never preempts": """
cluster: {nodes: [{name: n, gpus: 4}]}
workloads:
  - {name: low, priority: 10, pod: {gpus: 4}, started: 0, places: {low-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, may-preempt: false, pod: {gpus: 4}}
""",
    "a search that was cut": """
cluster: {nodes: [{name: n, count: 4, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 16}}, {name: b}]
policy: {search-budget: 4}
workloads:
  - {name: guest, queue: b, repeat: 4, pod: {gpus: 3}, started: 0, places: {guest-0-0: {node: n-0, devices: [0, 1, 2]},
     guest-1-0: {node: n-1, devices: [0, 1, 2]}, guest-2-0: {node: n-2, devices: [0, 1, 2]},
     guest-3-0: {node: n-3, devices: [0, 1, 2]}}}
  - {name: w, queue: a, count: 4, pod: {gpus: 4}}
""",
    "a reclaim": """
cluster: {nodes: [{name: n, gpus: 4}]}
queues: [{name: a, gpu: {deserved: 4}}, {name: b}]
workloads:
  - {name: guest, queue: b, pod: {gpus: 4}, started: 0, places: {guest-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, queue: a, pod: {gpus: 4}}
""",
    "a preemption": """
cluster: {nodes: [{name: n, gpus: 4}]}
workloads:
  - {name: low, priority: 10, pod: {gpus: 4}, started: 0, places: {low-0: {node: n, devices: [0, 1, 2, 3]}}}
  - {name: w, pod: {gpus: 4}}
""",
    "a move": """
cluster: {nodes: [{name: n, count: 2, gpus: 4}]}
workloads:
  - {name: low, repeat: 2, pod: {gpus: 2}, started: 0,
     places: {low-0-0: {node: n-0, devices: [0, 1]}, low-1-0: {node: n-1, devices: [0, 1]}}}
  - {name: w, pod: {gpus: 4}}
""",
    "a gang that broke": """
now: 100
cluster: {nodes: [{name: n, gpus: 4}]}
workloads: [{name: w, count: 2, pod: {gpus: 4}, stale-since: 10, places: {w-0: {node: n, devices: [0, 1, 2, 3]}}}]
""",
    "a run time that is over": """
now: 100
cluster: {nodes: [{name: n, gpus: 4}]}
workloads: [{name: w, max-runtime: 60, pod: {gpus: 4}, started: 10, places: {w-0: {node: n, devices: [0, 1, 2, 3]}}}]
""",
}


def report() -> str:
    """All cases, in order."""
    return "\n".join(line for title, text in CASES.items() for line in (f"## {title}", *told(text), ""))


def told(text: str) -> list[str]:
    situation = read(text.encode(), file="case.yaml")
    plan = cycle(
        situation.state().borrow(),
        Policies(
            placement=BinPack(),
            queues=situation.queues,
            topologies=situation.topologies,
            rules=situation.rules,
            budgets=situation.budgets,
        ),
        groups=list(situation.waiting()),
        running=list(situation.running()),
        now=situation.now,
        rng=NoChance(),
    )
    lines = []
    for one in plan.unschedulable:
        lines += [f"{one.group} waits", *(f"  {part}" for part in str(one.explanation).split("; "))]
    lines += [f"{one.pod} leaves {one.node}: {one.reason}" for one in plan.evictions]
    assert lines, "a case says something"
    return lines


def test_what_people_are_told() -> None:
    assert report() == GOLDEN.read_text(encoding="utf-8")
