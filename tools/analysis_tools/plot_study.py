"""Draw what each arm of a study gains over its baseline, seed by seed.

    python tools/analysis_tools/plot_study.py configs/studies/digits.yaml digits.svg

The picture is drawn from the results beside the study, and has no background: it is read on a light
page and on a dark one.
"""

import argparse
import sys
from pathlib import Path

from aekt_mm.engine.command_line import packages_of

with packages_of('analysis'):
    from aekt_mm.analysis.study import MEASURES, read_results
    from aekt_mm.analysis.study_file import read_study
    from aekt_mm.analysis.study_plot import plot_gains, save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('study', type=Path, help='path of the study, a YAML file with results')
    parser.add_argument('out', type=Path, help='what to write, an .svg, .png or .pdf')
    parser.add_argument('--measure', choices=MEASURES, default='top1', help='what to compare')
    parser.add_argument('--title', help='of the picture')
    args = parser.parse_args()
    if args.out.suffix not in ('.svg', '.png', '.pdf'):
        sys.exit(f'plot_study: {args.out} must end in .svg, .png or .pdf')
    try:
        study = read_study(args.study)
        save(plot_gains(study, read_results(study), args.measure, args.title), args.out)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'plot_study: {error}')


if __name__ == '__main__':
    main()
