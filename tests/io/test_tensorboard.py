"""Event files: read back byte by byte, and by TensorBoard itself where it is installed."""

import struct

import numpy as np
import pytest

import hyperion as hp
from hyperion import nn, optim
from hyperion.errors import FileError
from hyperion.io.tensorboard import EventFile, crc32c


def records(path):
    data, place = path.read_bytes(), 0
    while place < len(data):
        length = struct.unpack_from("<Q", data, place)[0]
        for start, count in ((place, 8), (place + 12, length)):
            crc = crc32c(data[start:start + count])
            assert struct.unpack_from("<I", data, start + count)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        yield data[place + 12:place + 12 + length]
        place += 16 + length


def test_records_hold_steps_names_and_values(tmp_path):
    events = EventFile(tmp_path)
    events.write(1, {"loss": 2.5})
    events.write(300, {"loss": 0.5, "validation loss": 0.75})
    first, second, third = records(events.path)
    assert b"brain.Event:2" in first
    assert second.endswith(b"\n\x04loss\x15" + struct.pack("<f", 2.5)) and second[9:11] == b"\x10\x01"
    assert third[9:12] == b"\x10\xac\x02" and struct.pack("<f", 0.75) in third


def test_tensorboard_reads_them(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    events = EventFile(tmp_path)
    for step in range(5):
        events.write(step, {"loss": 1.0 / (step + 1)})
    found = accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in found] == list(range(5))
    np.testing.assert_allclose([event.value for event in found], [1.0 / (step + 1) for step in range(5)], rtol=1e-6)


def test_a_trainer_writes_them(tmp_path):
    model = nn.Linear(1, 1)
    batches = nn.Batches(nn.Arrays(np.ones((4, 1), np.float32)), size=2)
    trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1), lambda m, x: hp.mean(m(x) ** 2), batches, folder=tmp_path,
                         tensorboard=True)
    for _ in trainer.run(3):
        pass
    (path,) = tmp_path.glob("events.out.tfevents.*")
    assert sum(b"gradient_norm" in record for record in records(path)) == 3


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        EventFile(tmp_path / "file")
