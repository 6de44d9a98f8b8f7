"""Convert checkpoints between this project and those of the field.

    python tools/model_converters/convert.py CONFIG SOURCE TARGET --to mdistiller

SOURCE may be of any of the frameworks; CONFIG is a recipe of the network, for instance
configs/vanilla/vanilla_resnet56_cifar100.py. RepDistiller, mdistiller: the networks for CIFAR;
torchvision, timm: ResNets; timm: ViTs and DeiTs. torchdistill's checkpoints, which keep the options
of its command line beside torchvision's names, are read as they are. Teachers need no conversion
where aekt_mm.models.weights.load_weights knows their layout.
"""

import argparse

from aekt_mm.engine.command_line import add_traceback_argument, one_line_errors
from aekt_mm.engine.converting import KEPT_UNDER, convert


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='a recipe of the network')
    parser.add_argument('source', help='the checkpoint to read')
    parser.add_argument('target', help='the checkpoint to write')
    parser.add_argument(
        '--to', choices=KEPT_UNDER, default='aekt_mm', help='whose layout to write (aekt_mm)'
    )
    add_traceback_argument(parser)
    args = parser.parse_args()
    with one_line_errors('convert', args):
        convert(args.config, args.source, args.target, args.to)
    print(args.target)


if __name__ == '__main__':
    main()
