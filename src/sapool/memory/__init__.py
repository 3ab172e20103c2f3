"""Predicting TensorFlow Lite Micro's tensor arena: lifetimes, scratch, placement, persistent bytes."""

from sapool.memory.arena_plan import plan_arena
from sapool.memory.flash import flash_bytes_of
from sapool.memory.given import head_without_inputs
from sapool.memory.lifetimes import buffers_of, fixed_offsets
from sapool.memory.offline import best_offsets
from sapool.memory.persistent import setup_bytes, tail_bytes
from sapool.memory.planners import Buffer, greedy_offsets, head_of, lower_bound
from sapool.memory.profile import MemoryProfile, OperatorMemory, arena_size, profile_graph, profile_tflite

__all__ = [
    "Buffer",
    "MemoryProfile",
    "OperatorMemory",
    "arena_size",
    "best_offsets",
    "buffers_of",
    "fixed_offsets",
    "flash_bytes_of",
    "greedy_offsets",
    "head_of",
    "head_without_inputs",
    "lower_bound",
    "plan_arena",
    "profile_graph",
    "profile_tflite",
    "setup_bytes",
    "tail_bytes",
]
