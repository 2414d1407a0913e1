"""Whether the database or this machine has failed, or our own code on what it was given.

An outage is nobody's fault: the same work goes well when it is over, and is tried again until then.  A fault comes
again each time; it is counted, and what it is about is set aside.
"""

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, PendingRollbackError, ResourceClosedError
from sqlalchemy.exc import TimeoutError as NoConnection

from listserv.store.engines import UnsafeDatabase


def is_outage(fault: BaseException) -> bool:
    """Whether what failed would fail with anything else as well: no connection, no disk, no right, no table.

    A value that the database refuses, or a row that breaks its rules, is a fault of ours.
    """
    if isinstance(fault, DBAPIError):
        return not isinstance(fault, (DataError, IntegrityError))
    return isinstance(fault, (OSError, NoConnection, PendingRollbackError, ResourceClosedError, UnsafeDatabase))
