"""Where a test may kill a service: the fault points of the bus (bus.faults), under the name that services use.

The services' own points: `jobs.committed.SUBJECT` (applied, its facts not published), `jobs.publishing.SUBJECT`,
`jobs.claimed` (bound to a worker that does not know yet), `storage.*` (the steps of a take-in in services.storage).
"""

from bus.faults import VARIABLE, fault_point

__all__ = ["VARIABLE", "fault_point"]
