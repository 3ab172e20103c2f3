"""A traced network as the operators that the converter would write: what memory is predicted from without exporting."""

from sapool.predict.lowering.lower import Changes, UnpredictableError, lower

__all__ = ["Changes", "UnpredictableError", "lower"]
