"""Writes the event file that TensorBoard's own classes write, for train/tensorboard, or reads what goclip wrote.

  pip install tensorboard==2.20.0
  python testdata/tensorboard/make_goldens.py                   # testdata/tensorboard/events
  python testdata/tensorboard/make_goldens.py --read LOGS/NAME/tensorboard
"""

import argparse
import pathlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = pathlib.Path(__file__).parent


def scalar(step: int, tag: str, value: float) -> event_pb2.Event:
    return event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)]))


def write() -> None:
    """A run that goes on at step 301; the first event is at 1,700,000,000.25 s, each following one a second later."""
    events = [
        event_pb2.Event(step=301, file_version="brain.Event:2"),
        event_pb2.Event(step=301, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
        scalar(301, "train/loss", 4.158883),
        scalar(301, "train/lr", 5e-4),
        scalar(0, "val/text_to_image_R@1", 0.0),
        scalar(70000, "train/loss", float("nan")),
    ]
    with (HERE / "events").open("wb") as f:
        writer = RecordWriter(f)
        for i, event in enumerate(events):
            event.wall_time = 1_700_000_000.25 + i
            writer.write(event.SerializeToString())
        writer.flush()


def read(path: str) -> None:
    events = EventAccumulator(path, size_guidance={"scalars": 0})
    events.Reload()
    for tag in sorted(events.Tags()["scalars"]):
        print(tag, [(e.step, e.value) for e in events.Scalars(tag)])


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--read", metavar="DIR")
args = parser.parse_args()
read(args.read) if args.read else write()
