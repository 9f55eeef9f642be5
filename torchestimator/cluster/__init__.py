"""How processes find each other, and the part that each of them has."""

from torchestimator.cluster.environment import process_group_plan
from torchestimator.cluster.process_group import ProcessGroupPlan
from torchestimator.cluster.role import ClusterRole
from torchestimator.cluster.tf_config import VARIABLE

__all__ = ["VARIABLE", "ClusterRole", "ProcessGroupPlan", "process_group_plan"]
