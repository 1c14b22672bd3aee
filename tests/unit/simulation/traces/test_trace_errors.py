"""Every way a trace file can be wrong, and the whole sentence a user then reads."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from quartermaster.model.errors import InvalidInput
from quartermaster.simulation.traces.cluster import ClusterShape
from quartermaster.simulation.traces.itp import read_itp
from quartermaster.simulation.traces.muri import read_muri
from quartermaster.simulation.traces.openb import read_openb
from quartermaster.simulation.traces.philly import read_philly
from quartermaster.simulation.traces.pollux import read_pollux

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,64000,262144,2,P100\nn2,96000,262144,8,G2\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
TIMED = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\n"
MURI = "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n"
PHILLY = "timestamp,duration,num_gpus,cluster\n"
ITP = "job,submission_time,duration,num_gpu,deadline\n"

POD_NAMES = (
    "name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec, creation_time, deletion_time, qos, pod_phase, "
    "scheduled_time"
)
MODELS = "vgg16, vgg19, resnet18, shufflenet_v2_x1_0, bert, gpt2, a2c, dqn"

BAD_NODES = [
    (
        "",
        "nodes.csv: the file is empty; expected a header line with the columns sn,cpu_milli,memory_mib,gpu,model",
    ),
    (
        "\n\n",
        "nodes.csv: the file is empty; expected a header line with the columns sn,cpu_milli,memory_mib,gpu,model",
    ),
    (
        "sn,cpu_milli,memory_mib,gpu,model\n",
        "nodes.csv: there is a header but no row; give at least one row",
    ),
    (
        "sn,cpu_milli,memory_mib,model\nn1,1,1,G2\n",
        "nodes.csv:1: column 'gpu': is missing; expected GPUs of the node: a whole number, 0 to 64",
    ),
    (
        "sn,cpu_mili,memory_mib,gpu\nn1,1,1,1\n",
        "nodes.csv:1: column 'cpu_mili': is not known; did you mean 'cpu_milli'? "
        "the columns are sn, cpu_milli, memory_mib, gpu, model",
    ),
    (
        "sn,cpu_milli,memory_mib,gpu,gpu\nn1,1,1,1,1\n",
        "nodes.csv:1: column 'gpu': is there 2 times; keep one of them",
    ),
    (
        NODES + "n1,1,1,1,G2\n",
        "nodes.csv:4: column 'sn': 'n1' is already on line 2; give every row a name of its own",
    ),
    (
        NODES + ",1,1,1,G2\n",
        "nodes.csv:4: column 'sn': is empty; expected the node's name",
    ),
    (
        NODES + " n3,1,1,1,G2\n",
        "nodes.csv:4: column 'sn': ' n3' has space around it; expected the node's name",
    ),
    (
        NODES + "n3,1,1,65,G2\n",
        "nodes.csv:4: column 'gpu': '65' is more than 64; expected GPUs of the node: a whole number, 0 to 64",
    ),
]

BAD_PODS = [
    (
        PODS + "p1,1000,64,1,1000\n",
        "pods.csv:2: 5 cells, but the header has 6; give one cell a column",
    ),
    (
        PODS + "p1,1000,64,0,0,\n\nx\n",
        "pods.csv:4: 1 cell, but the header has 6; give one cell a column",
    ),
    (
        PODS.replace("gpu_spec", "spec") + "p1,1,1,0,0,\n",
        "pods.csv:1: column 'spec': is not known; did you mean 'gpu_spec'? the columns are " + POD_NAMES,
    ),
    (
        PODS.replace("gpu_spec", "zone") + "p1,1,1,0,0,\n",
        "pods.csv:1: column 'zone': is not known; the columns are " + POD_NAMES,
    ),
    (
        PODS + "p1,many,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': 'many' is not a number; "
        "expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,1_000,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': '1_000' is not a number; "
        "expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,0.5,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': '0.5' is not a whole number; "
        "expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,-1,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': '-1' is negative; expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,nan,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': 'nan' is not a finite number; "
        "expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,12345678901234567890,64,0,0,\n",
        "pods.csv:2: column 'cpu_milli': '12345678901234567890' is too large; "
        "expected thousandths of a CPU: a whole number, 0 or more",
    ),
    (
        PODS + "p1,1,64,65,1000,\n",
        "pods.csv:2: column 'num_gpu': '65' is more than 64; expected GPUs the pod asks for: a whole number, 0 to 64",
    ),
    (
        PODS + "p1,1,64,1,1001,\n",
        "pods.csv:2: column 'gpu_milli': '1001' is more than 1000; "
        "expected thousandths of each GPU: a whole number, 0 to 1000",
    ),
    (
        PODS + "p1,1,64,1,0,\n",
        "pods.csv:2: column 'gpu_milli': '0', but the pod asks for 1 GPU; "
        "give 1 to 1000 thousandths, 1000 for whole GPUs",
    ),
    (
        PODS + "p1,1,64,2,500,\n",
        "pods.csv:2: column 'gpu_milli': '500', but the pod asks for 2 GPUs; give 1000: only one GPU can be shared",
    ),
    (
        PODS + "p1,1,64,0,500,\n",
        "pods.csv:2: column 'gpu_milli': '500', but the pod asks for no GPU; give 0 with num_gpu 0",
    ),
    (
        PODS + "p1,1,64,0,0,G2\n",
        "pods.csv:2: column 'gpu_spec': 'G2', but the pod asks for no GPU; leave it empty with num_gpu 0",
    ),
    (
        PODS + "p1,1,64,1,1000,G2\np2,1,64,1,1000,G2|A100\n",
        "pods.csv:3: column 'gpu_spec': no node has a GPU of model 'A100'; the node list's models are G2, P100",
    ),
    (
        PODS + "p1,1,64,1,1000,G2|\n",
        "pods.csv:2: column 'gpu_spec': 'G2|' has an empty model name; expected GPU models joined by '|'",
    ),
    (
        PODS + "p1,1,64,0,0,\np1,2,64,0,0,\n",
        "pods.csv:3: column 'name': 'p1' is already on line 2; give every row a name of its own",
    ),
    (
        TIMED + "p1,1,64,0,0,50,40\n",
        "pods.csv:2: column 'deletion_time': '40' is before its creation at 50; give a later time",
    ),
    (
        PODS + 'p1,1,64,0,0,"G2\n',
        "pods.csv:2: is not CSV: unexpected end of data; check the quotes on this line",
    ),
]

BAD_MURI = [
    (
        MURI + "j1,0,0,10,bert,5\n",
        "jobs.csv:2: column 'num_gpu': '0' is less than 1; expected GPUs of the job: a whole number, 1 to 32",
    ),
    (
        MURI + "j1,64,0,10,bert,5\n",
        "jobs.csv:2: column 'num_gpu': '64' is more than 32; expected GPUs of the job: a whole number, 1 to 32",
    ),
    (
        MURI + "j1,1,0,10,vgg\N{LATIN SMALL LETTER E WITH ACUTE},5\n",
        "jobs.csv:2: column 'model_name': there is no start-up time for model "
        "'vgg\N{LATIN SMALL LETTER E WITH ACUTE}'; "
        f"expected one of {MODELS}",
    ),
    (
        MURI + "j1,1,0,10,bert,0\n",
        "jobs.csv:2: column 'iteration_time': '0' is zero; "
        "expected milliseconds of one iteration: a number, more than 0",
    ),
    (
        MURI + "j1,1,inf,10,bert,5\n",
        "jobs.csv:2: column 'submit_time': 'inf' is not a finite number; "
        "expected milliseconds from the start of the trace: a number, 0 or more",
    ),
    (
        MURI + "j1,1,1e999,10,bert,5\n",
        "jobs.csv:2: column 'submit_time': '1e999' is too large; "
        "expected milliseconds from the start of the trace: a number, 0 or more",
    ),
    (
        MURI + "j1,1,0,,bert,5\n",
        "jobs.csv:2: column 'iterations': is empty; expected iterations of the job: a number, more than 0",
    ),
    (
        MURI + "j1,32,0,10,bert,5\n",
        "trace 'muri': cluster: job 'j1' asks for 32 GPUs, 2x8 has 16; give 4x8 or more",
    ),
]

BAD_PHILLY = [
    (
        PHILLY + "2017-13-01 00:00:00,5,1,a\n",
        "jobs.csv:2: column 'timestamp': '2017-13-01 00:00:00' is not a date and time; "
        "expected the local time of submission, as YYYY-MM-DD HH:MM:SS",
    ),
    (
        PHILLY + "1504500000,5,1,a\n",
        "jobs.csv:2: column 'timestamp': '1504500000' is not a date and time; "
        "expected the local time of submission, as YYYY-MM-DD HH:MM:SS",
    ),
    (
        PHILLY + "2017-10-01 00:00:00,-5,1,a\n",
        "jobs.csv:2: column 'duration': '-5' is negative; expected seconds the job ran: a number, more than 0",
    ),
]

BAD_ITP = [
    (
        ITP + "0,100,10,1,100\n",
        "jobs.csv:2: column 'deadline': '100' is not after the submission at 100; give a later time",
    ),
    (
        ITP + "0,100,10,1,120\n0,100,10,1,120\n",
        "jobs.csv:3: column 'job': '0' is already on line 2; give every row a name of its own",
    ),
]

POLLUX = "name,time,application,num_replicas,batch_size\n"

BAD_POLLUX = [
    (
        POLLUX + "j1,0,resnet,1,128\n",
        "jobs.csv:2: column 'application': 'resnet' was not measured; "
        "expected one of bert, cifar10, deepspeech2, imagenet, ncf, yolov3",
    ),
    (
        POLLUX + "j1,0,cifar10,8,64\n",
        "jobs.csv:2: column 'batch_size': '64' was not measured for cifar10 on 8 GPUs; give 256 to 4096",
    ),
    (
        POLLUX + "j1,0,bert,1,12\nj2,0,cifar10,0,128\n",
        "jobs.csv:3: column 'num_replicas': '0' is less than 1; expected GPUs of the job: a whole number, 1 to 64",
    ),
]

SHAPE = ClusterShape(nodes=2, gpus_per_node=8)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages name the file as the user did: here by a bare name."""
    monkeypatch.chdir(tmp_path)
    Path("nodes.csv").write_text(NODES, encoding="utf-8")
    Path("pods.csv").write_text(PODS + "p1,1,64,0,0,\n", encoding="utf-8")


def openb() -> object:
    return read_openb(nodes=Path("nodes.csv"), pods=Path("pods.csv"))


def muri() -> object:
    return read_muri(jobs=Path("jobs.csv"), cluster=SHAPE)


def philly() -> object:
    return read_philly(jobs=Path("jobs.csv"), cluster=SHAPE)


def itp() -> object:
    return read_itp(jobs=Path("jobs.csv"), cluster=SHAPE)


def pollux() -> object:
    return read_pollux(jobs=Path("jobs.csv"), cluster=SHAPE)


CASES = [
    *(("nodes.csv", openb, content, message) for content, message in BAD_NODES),
    *(("pods.csv", openb, content, message) for content, message in BAD_PODS),
    *(("jobs.csv", muri, content, message) for content, message in BAD_MURI),
    *(("jobs.csv", philly, content, message) for content, message in BAD_PHILLY),
    *(("jobs.csv", itp, content, message) for content, message in BAD_ITP),
    *(("jobs.csv", pollux, content, message) for content, message in BAD_POLLUX),
]


@pytest.mark.parametrize(("file", "read", "content", "message"), CASES)
def test_a_bad_file_is_refused_with_its_place_its_problem_and_advice(
    file: str, read: Callable[[], object], content: str, message: str
) -> None:
    Path(file).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput) as refused:
        read()
    assert str(refused.value) == message


def test_a_file_that_is_not_there() -> None:
    Path("pods.csv").unlink()
    with pytest.raises(InvalidInput) as refused:
        openb()
    assert str(refused.value) == "pods.csv: no such file; check the path"


def test_a_folder_in_place_of_a_file() -> None:
    Path("pods.csv").unlink()
    Path("pods.csv").mkdir()
    with pytest.raises(InvalidInput) as refused:
        openb()
    assert str(refused.value) == "pods.csv: cannot be read: Is a directory; name a .csv or .csv.gz file"


def test_bytes_that_are_not_utf8_are_found_by_line() -> None:
    Path("pods.csv").write_bytes(PODS.encode() + b"p1,1,64,0,0,\np\xff2,1,64,0,0,\n")
    with pytest.raises(InvalidInput) as refused:
        openb()
    assert str(refused.value) == "pods.csv:3: byte 0xff is not UTF-8; save the file as UTF-8"


def test_a_line_number_counts_blank_lines_and_line_ends_inside_quotes() -> None:
    Path("pods.csv").write_text(PODS + '\np1,1,64,0,0,\n"p\n2",1,64,0,0,\np3,x,64,0,0,\n', encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"^pods\.csv:6: column 'cpu_milli': 'x' is not a number"):
        openb()


def test_a_truncated_gzip_file() -> None:
    Path("nodes.csv").write_bytes(gzip.compress(NODES.encode())[:-12])
    with pytest.raises(InvalidInput) as refused:
        openb()
    assert str(refused.value) == (
        "nodes.csv: the gzip data is broken (Compressed file ended before the end-of-stream marker was reached); "
        "copy or compress the file again"
    )


def test_a_gzip_file_with_a_wrong_checksum() -> None:
    data = bytearray(gzip.compress(NODES.encode()))
    data[-6] ^= 1
    Path("nodes.csv").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"^nodes\.csv: the gzip data is broken \(CRC check failed"):
        openb()


def test_a_name_that_promises_gzip_and_content_that_is_not() -> None:
    Path("pods.csv.gz").write_text(PODS, encoding="utf-8")
    with pytest.raises(InvalidInput) as refused:
        read_openb(nodes=Path("nodes.csv"), pods=Path("pods.csv.gz"))
    assert str(refused.value) == ("pods.csv.gz: is not gzip data; compress it with gzip, or drop '.gz' from its name")


def test_models_no_node_has_can_be_allowed() -> None:
    Path("pods.csv").write_text(PODS + "p1,1,64,1,1000,A100\n", encoding="utf-8")
    trace = read_openb(nodes=Path("nodes.csv"), pods=Path("pods.csv"), allow_unknown_models=True)
    assert trace.pods[0].spec.gpu.models == {"A100"}


def test_an_unknown_virtual_cluster_names_those_there_are() -> None:
    Path("jobs.csv").write_text(PHILLY + "2017-10-01 00:00:00,5,1,7f04ca\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as refused:
        read_philly(jobs=Path("jobs.csv"), cluster=SHAPE, queue="7f04cb")
    assert str(refused.value) == (
        "jobs.csv: column 'cluster': no job is of virtual cluster '7f04cb'; did you mean '7f04ca'? the file has 7f04ca"
    )
