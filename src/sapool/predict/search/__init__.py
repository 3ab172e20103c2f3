"""Choosing a plan under a budget."""

from sapool.predict.search.ladder import Candidate, closest, first_fitting_plan, replan, stride_ladder
from sapool.predict.search.plans import PlanCandidate, PlanSearch, search_plans

__all__ = [
    "Candidate",
    "PlanCandidate",
    "PlanSearch",
    "closest",
    "first_fitting_plan",
    "replan",
    "search_plans",
    "stride_ladder",
]
