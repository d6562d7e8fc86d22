#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of command lines in bash: what it offers for words before the
# cursor.
#
# usage: completion.sh [PREFIX-FOLDER PROGRAM-PREFIX]: what is installed there;
# else what was built.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$here/common.rc"
need_programs
command -v bash > /dev/null || skip_all 'no bash'
make_work "${TMPDIR:-/tmp}"
bin=$(dirname "$IMG")
prefix=
script=$bin/scripts/completion/qemu-img
if [ $# = 2 ]; then
    bin=$1/bin
    prefix=$2
    script=$1/share/bash-completion/completions/${prefix}qemu-io
fi
[ -r "$script" ] || skip_all "no '$script'"
cd "$work" || exit 1
mkdir disks
touch disk1.vmdk disk2.raw 'a disk.raw'

# What bash calls after it has found the function of the command.
cat > complete.bash <<'BASH'
# SCRIPT WORD...: the last one is completed.
script=$1
shift
. "$script" || exit 1
function=$(complete -p "${1##*/}" | sed 's/.* -F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
BASH

# offers WANTED PROGRAM WORD...: WANTED are words that must be there; those
# that begin with "!" must not.
offers()
{
    offers_wanted=$1
    offers_program=$bin/$prefix$2
    shift 2
    $LIMIT bash complete.bash "$script" "$offers_program" "$@" > offered \
        2> offered.err
    offers_bad=
    for offers_word in $offers_wanted; do
        case $offers_word in
        !*) grep -q -x -e "${offers_word#!}" offered ;;
        *) ! grep -q -x -e "$offers_word" offered ;;
        esac && offers_bad="$offers_bad $offers_word"
    done
    if [ -z "$offers_bad" ] && ! [ -s offered.err ]; then
        pass
    else
        cat offered.err >> offered
        fail "$offers_program $*:$offers_bad" offered
    fi
}

offers 'bench create convert snapshot --help !qemu-img !disk1.vmdk' \
    qemu-img ''
offers 'compare convert commit !create' qemu-img co
offers '-f --source-format -O -o --image-opts --salvage -W !--a-format' \
    qemu-img convert -
offers '--target-is-zero --target-format !--source-format' \
    qemu-img convert --ta
offers '--plot --seed --random' qemu-img bench --
offers 'raw vmdk !human' qemu-img info -f ''
offers 'vmdk !raw' qemu-img create -f vm
offers 'human json !raw' qemu-img info --output ''
offers 'json !human' qemu-img info --output = j
offers 'human json' qemu-img info --output =
offers 'none writeback unsafe' qemu-img convert -t ''
offers 'none writeback unsafe' qemu-img bench --cache ''
offers 'threads native io_uring !raw' qemu-img bench -i ''
offers 'leaks all' qemu-img check -r ''
offers 'subformat= adapter_type= help !leaks' \
    qemu-img create -f vmdk -o ''
offers 'subformat= help' qemu-img convert --target-format = vmdk -o ''
offers 'preallocation= !subformat=' qemu-img create -o pre
offers 'disk1.vmdk disk2.raw disks !raw' qemu-img info ''
offers 'disk1.vmdk' qemu-img rebase -b disk1
offers 'disk1.vmdk !disks' qemu-img convert -f vmdk disk1
offers '!raw' qemu-img nosuch -
offers 'raw vmdk' qemu-io -f ''
offers '--misalign --cmd --native-aio' qemu-io --
offers 'ignore unmap' qemu-io -d ''
offers 'disk2.raw' qemu-io -r disk2
offers '--detect-zeroes --socket -k --tls-creds' qemu-nbd -
offers 'off on unmap' qemu-nbd --detect-zeroes = ''
offers 'raw vmdk' qemu-nbd -f ''
offers 'disk1.vmdk !raw' qemu-nbd -t ''
offers '--blockdev --export --daemonize' qemu-storage-daemon --

# All that the help describes.
for command in $("$bin/${prefix}qemu-img" --help |
    sed -n '/^Command syntax/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    "$bin/${prefix}qemu-img" "$command" --help > help
    offers "$(help_options help)" qemu-img "$command" -
done
for program in qemu-io qemu-nbd qemu-storage-daemon; do
    "$bin/$prefix$program" --help > help
    offers "$(help_options help)" $program -
done

# A name with a space is one word.
$LIMIT bash complete.bash "$script" "$bin/${prefix}qemu-img" info 'a d' > offered
if [ "$(cat offered)" = 'a disk.raw' ]; then
    pass
else
    fail 'a name with a space' offered
fi
summary
