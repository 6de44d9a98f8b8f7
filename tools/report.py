"""Write a report of runs or of a study: one HTML file, which opens anywhere without a network.

    python tools/report.py work_dirs/aekt_resnet20_resnet8slim_digits
    python tools/report.py work_dirs/quickstart/*_0 --out comparison.html
    python tools/report.py configs/studies/digits.yaml

Each argument is the work directory of a run that has ended, or RECIPE=CHECKPOINT. Runs that differ
in nothing but their seed are taken together, and compared with the first. Of a study its results
are enough; what its trials left in their work directory is looked at too. See docs/en/analysis.md.
"""

import argparse
from pathlib import Path

from aekt_mm.engine.command_line import add_traceback_argument, one_line_errors, packages_of

with packages_of('analysis'):
    from aekt_mm.analysis.report import report_runs, report_study, write_report
    from aekt_mm.analysis.study_file import read_study


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        'runs', nargs='+', metavar='RUN', help='work directories, or one STUDY.yaml'
    )
    parser.add_argument(
        '--out', type=Path, help='the file; report.html in the first work directory, or beside it'
    )
    parser.add_argument(
        '--work-dir', type=Path, help="of a study's trials; work_dirs/studies/NAME, if not given"
    )
    add_traceback_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors('report', args):
        first = Path(args.runs[0])
        if first.suffix in ('.yaml', '.yml') and len(args.runs) == 1:
            study = read_study(first)
            work_dir = args.work_dir or Path('work_dirs/studies') / study.path.stem
            report, place = report_study(study, work_dir), work_dir
        else:
            report = report_runs(args.runs)
            folder = first if first.is_dir() else Path()
            place = folder.parent if len(args.runs) > 1 else folder
        path = args.out or place / 'report.html'
        write_report(report, path)
    print(path)


if __name__ == '__main__':
    main()
