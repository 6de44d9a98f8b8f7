"""Look at what students have learned: pictures, and the numbers behind them.

    python tools/analysis_tools/analyse.py similarity work_dirs/kd work_dirs/aekt
    python tools/analysis_tools/analyse.py class-relations aekt_recipe.py=epoch_240.pth
    python tools/analysis_tools/analyse.py gradient-field dkd_resnet56_resnet20_cifar100

- similarity: of students and teachers, overall and by class;
- explicit-knowledge: their confidence in the true class, and calibration;
- class-relations: the FC layer, beside the teacher's confusions and the superclasses;
- gradient-field: of the losses, over the teacher's and the student's confidence;
- complexity: parameters, multiply-adds, time and memory of a training step;
- curves: what runs logged.

A run is the work directory of one that has ended, or RECIPE=CHECKPOINT; for gradient-field and
complexity a recipe is enough. The teacher is the recipe's. FOLDER gets SUBJECT.png and CSV files.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aekt_mm.engine.command_line import (
    Options,
    add_traceback_argument,
    one_line_errors,
    packages_of,
)
from aekt_mm.files import replace_file

with packages_of('analysis'):
    from aekt_mm.analysis.class_relations import class_relations
    from aekt_mm.analysis.complexity import complexity
    from aekt_mm.analysis.curves import curves
    from aekt_mm.analysis.drawing import write_png
    from aekt_mm.analysis.explicit_knowledge import explicit_knowledge
    from aekt_mm.analysis.findings import Findings
    from aekt_mm.analysis.gradient_field import gradient_fields
    from aekt_mm.analysis.predictions import Predictions, predict
    from aekt_mm.analysis.runs import Run, group_by_seed, read_runs
    from aekt_mm.analysis.similarity import similarity

#: From runs, and what they predict where that is looked at.
OF_PREDICTIONS: dict[str, Callable[[Sequence[Run], Predictions], Findings]] = {
    'similarity': lambda runs, predictions: similarity(predictions),
    'explicit-knowledge': lambda runs, predictions: explicit_knowledge(predictions),
    'class-relations': class_relations,
}
OF_RUNS: dict[str, Callable[[Sequence[Run]], Findings]] = {
    'gradient-field': gradient_fields,
    'complexity': complexity,
    'curves': lambda runs: curves(group_by_seed(runs)),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('subject', choices=[*OF_PREDICTIONS, *OF_RUNS])
    parser.add_argument('runs', nargs='+', metavar='RUN', help='work directories or recipes')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/analysis'), help='folder (work_dirs/analysis)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override settings of all configs, where data have been moved for instance',
    )
    add_traceback_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors('analyse', args):
        runs, notes = read_runs(args.runs, args.cfg_options), []
        if args.subject in OF_RUNS:
            findings = OF_RUNS[args.subject](runs)
        else:
            predictions = predict(runs)
            findings = OF_PREDICTIONS[args.subject](runs, predictions)
            notes = predictions.notes
        for note in (*notes, *findings.notes):
            print(note, file=sys.stderr)
        if not findings.tables:
            raise ValueError(f'there is nothing to see of {args.subject}')
        args.out.mkdir(parents=True, exist_ok=True)
        for table in findings.tables:
            path = args.out / f'{table.name}.csv'
            # rows that have no name of their own have no column for it
            named = not table.frame.index.equals(table.frame.reset_index().index)
            replace_file(path, lambda part, t=table, n=named: t.frame.to_csv(part, index=n))
            print(path)
        if findings.panels:
            path = args.out / f'{args.subject}.png'
            write_png(findings, path)
            print(path)


if __name__ == '__main__':
    main()
