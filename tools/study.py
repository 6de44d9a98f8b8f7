"""Run a study, several recipes with several seeds, and compare their students.

    python tools/study.py configs/studies/digits.yaml

Trials run side by side on Ray Tune, each an ordinary run of tools/train.py; on a cluster, start Ray
there and set RAY_ADDRESS. Results go beside the study as they come, a row a trial in its .csv, and
what is in there is not run again. See docs/en/studies.md.
"""

import argparse
import sys
from pathlib import Path

import rich
from rich.markdown import Markdown

from aekt_mm.engine.command_line import packages_of

with packages_of('studies'):
    from aekt_mm.analysis.report import report_study, write_report
    from aekt_mm.analysis.study import markdown, read_results
    from aekt_mm.analysis.study_file import read_study


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('study', type=Path, help='path of the study, a YAML file')
    parser.add_argument('--table', action='store_true', help='only print the results so far')
    parser.add_argument(
        '--work-dir', type=Path, help='where trials keep what they write; work_dirs/studies/NAME'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    failed = []
    try:
        study = read_study(args.study)
        work_dir = args.work_dir or Path('work_dirs/studies') / study.path.stem
        if not args.table:
            with packages_of('studies'):  # Ray, which a table does not need
                from aekt_mm.analysis.running import run_study
            failed = run_study(study, Path(__file__).parent, work_dir)
        results = read_results(study)
        table = markdown(study, results)
        if sys.stdout.isatty():
            rich.print(Markdown(table))
        else:
            print(table, end='')
        if not args.table and len(results):
            write_report(report_study(study, work_dir), work_dir / 'report.html')
            print(f'In a browser: {work_dir / "report.html"}')
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'study: {error}')
    if failed:
        sys.exit(f'study: {len(failed)} trials failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
