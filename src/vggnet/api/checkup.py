"""Examine installation and machine from Python: `doctor`."""

from vggnet.api.arguments import like_command, options_of
from vggnet.checkup.report import CheckupReport, examine
from vggnet.options.doctor import DoctorOptions


@like_command(DoctorOptions)
def doctor(*, quick: bool = False, device: str = "auto") -> CheckupReport:
    """Examine this installation and this machine. Then check that nets and files work here, and whether a repeated
    training gives the same weights.

    Returns:
        `facts` (by subject), `findings` (sentences on what is unusual), `outcomes` (of the self-test), `passed`,
        `to_text()` to paste into a report, and `to_dict()`.

    Raises:
        UserError: for a device that does not exist.

    Example:
        >>> vggnet.doctor(quick=True).facts["versions"]["vggnet"].split()[0]
        '0.1.0'
    """
    options = options_of(DoctorOptions, locals())
    return examine(options.device, quick=options.quick)
