#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/block-coroutine-wrapper.py makes, and what it refuses.

usage: test-co-wrapper.py SCRIPT
"""

import os
import subprocess
import sys
import tempfile

REFUSED = [
    ('int co_wrapper other_flush(BlockDriverState *bs);\n',
     "h:1: 'other_flush' is neither bdrv_... nor blk_..."),
    ('\n/* co_wrapper\n */\nint co_wrapper bdrv_x(int a);\n',
     "h:4: 'bdrv_x' has 'int' as its first parameter; known are: "
     "'BlockDriverState *', 'BdrvChild *', 'BlockBackend *'"),
    ('int co_wrapper bdrv_x(BlockDriverState *);\n',
     "h:1: parameter 'BlockDriverState *' has no name"),
    ('int co_wrapper bdrv_x;\n',
     "h: 1 declarations have 'co_wrapper', but 0 are understood"),
]

GOOD = '''#define co_wrapper
/* int co_wrapper bdrv_comment(BlockDriverState *bs); */
int64_t co_wrapper blk_sum(BlockBackend *blk,
                           const char *const *names, int64_t n);
int bdrv_other(BlockDriverState *bs);
'''

WANTED = [
    '    const char *const *names;\n    int64_t n;\n    int64_t ret;\n',
    '    s->ret = blk_co_sum(s->blk, s->names, s->n);\n',
    'int64_t blk_sum(BlockBackend *blk, const char *const *names, int64_t n)',
    '        return blk_co_sum(blk, names, n);\n',
    '    bdrv_run_co(blk_get_aio_context(blk), blk_sum_entry, &s);\n',
]


def run(script, folder, text):
    header = os.path.join(folder, 'h')
    with open(header, 'w', encoding='utf-8') as file:
        file.write(text)
    output = os.path.join(folder, 'c')
    result = subprocess.run([sys.executable, script, output, 'h'], cwd=folder,
                            stderr=subprocess.PIPE, text=True, check=False)
    if not os.path.exists(output):
        return result, None
    with open(output, encoding='utf-8') as file:
        made = file.read()
    os.unlink(output)
    return result, made


def check_refused(script, folder, text, message):
    result, made = run(script, folder, text)
    wanted = f'block-coroutine-wrapper: {message}\n'
    if result.returncode == 0 or made is not None or \
            result.stderr != wanted:
        return f'{result.returncode}, {result.stderr!r}, not {wanted!r}'
    return None


def check_good(script, folder):
    result, made = run(script, folder, GOOD)
    if result.returncode or result.stderr:
        return f'{result.returncode}, {result.stderr!r}'
    for piece in WANTED:
        if piece not in made:
            return f'{piece!r} is not in:\n{made}'
    if 'comment' in made or 'other' in made:
        return f'more than what is declared:\n{made}'
    return None


def main():
    script = os.path.abspath(sys.argv[1])
    failed = False
    print(f'1..{len(REFUSED) + 1}')
    with tempfile.TemporaryDirectory() as folder:
        for i in range(len(REFUSED) + 1):
            if i < len(REFUSED):
                fault = check_refused(script, folder, *REFUSED[i])
            else:
                fault = check_good(script, folder)
            print('not ok' if fault else 'ok', i + 1)
            if fault:
                failed = True
                print('# ' + fault.replace('\n', '\n# '))
    sys.exit(failed)


if __name__ == '__main__':
    main()
