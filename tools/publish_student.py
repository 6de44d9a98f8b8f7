"""Write the student of a distillation run as a plain mmpretrain model.

    python tools/publish_student.py CONFIG CHECKPOINT FOLDER

FOLDER gets student.py and student.pth, which plain mmpretrain loads where aekt_mm is not
installed: mmpretrain.get_model('FOLDER/student.py', pretrained='FOLDER/student.pth'). README.md is
its model card, which also says what images student.onnx takes (--onnx).
"""

import argparse

from aekt_mm.engine.command_line import add_traceback_argument, one_line_errors
from aekt_mm.engine.publishing import publish_student


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('config', help='the recipe that was trained')
    parser.add_argument('checkpoint', help='what the training saved, work_dirs/.../epoch_N.pth')
    parser.add_argument('folder', help='where to write the student')
    parser.add_argument(
        '--safetensors', action='store_true', help='write the weights as student.safetensors too'
    )
    parser.add_argument(
        '--onnx', action='store_true', help='write student.onnx too, compared with the student'
    )
    add_traceback_argument(parser)
    args = parser.parse_args()
    with one_line_errors('publish_student', args):
        written = publish_student(
            args.config, args.checkpoint, args.folder, args.safetensors, args.onnx
        )
    print(*written, sep='\n')


if __name__ == '__main__':
    main()
