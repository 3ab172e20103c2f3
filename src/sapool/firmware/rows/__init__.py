"""From the operators of a graph to functions that make one row at a time, and what each of them needs."""

from sapool.firmware.rows.lower import lower as lower
from sapool.firmware.rows.parts import Blob as Blob
from sapool.firmware.rows.parts import Layer as Layer
from sapool.firmware.rows.parts import Program as Program
from sapool.firmware.rows.parts import Read as Read
from sapool.firmware.rows.parts import Step as Step
from sapool.firmware.rows.parts import Store as Store
from sapool.firmware.rows.parts import UnsupportedError as UnsupportedError
