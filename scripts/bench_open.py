# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening many disks: time, memory, and what the kernel counts."""

import os
import resource
import statistics

from bench_run import run, timed

DAEMON = 'qemu-storage-daemon'


def number(path):
    with open(path, encoding='utf-8') as file:
        return int(file.read())


def peak_kib(pid):
    with open('/proc/%d/status' % pid, encoding='utf-8') as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith('VmHWM'))


class Opening:
    def __init__(self, bench):
        self.bench = bench
        self.args = bench.args

    def programs(self, name):
        """Ours, and the stock one beside --oracle, if there is one."""
        found = {'ours': os.path.join(os.path.dirname(self.args.img), name)}
        stock = os.path.join(os.path.dirname(self.args.oracle), name)
        if os.path.exists(stock):
            found['stock'] = stock
        return found

    def wants_descriptors(self, count):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < count:
            print('    not measured: the limit of open files is %d' % hard)
            return False
        if soft != resource.RLIM_INFINITY and soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
        return True

    def daemon(self, program, nodes):
        """Seconds until it is up, KiB, and Linux AIO events."""
        pidfile = os.path.join(self.bench.folders['disk'], 'pid')
        before = number('/proc/sys/fs/aio-nr')
        seconds, _ = timed(program, *nodes, '--daemonize', '--pidfile',
                           pidfile)
        pid = number(pidfile)
        try:
            return (seconds, peak_kib(pid),
                    number('/proc/sys/fs/aio-nr') - before)
        finally:
            os.kill(pid, 15)
            while os.path.exists(pidfile):
                pass

    def tell(self, name, figures):
        row = {'what': name}
        for label, runs in figures.items():
            row[label] = [statistics.median(r[i] for r in runs)
                          for i in range(len(runs[0]))]
            print('    %-6s %s' % (label, '  '.join('%g' % round(f, 3)
                                                   for f in row[label])),
                  flush=True)
        self.bench.rows.append(row)

    def disks(self, fmt, count):
        name = 'open %d %s disks' % (count, fmt)

        def measure():
            nodes = []
            print(name + ': seconds, KiB at most, Linux AIO events')
            if not self.wants_descriptors(count + 100):
                return
            for i in range(count):
                path = os.path.join(self.bench.folders['disk'],
                                    'many-%d.%s' % (i, fmt))
                if not os.path.exists(path):
                    run(self.args.img, 'create', '-q', '-f', fmt, path, '1G')
                nodes += ['--blockdev', 'driver=file,node-name=f%d,filename='
                          '%s,aio=native,cache.direct=on' % (i, path)]
                if fmt != 'raw':
                    nodes += ['--blockdev', 'driver=%s,node-name=n%d,'
                              'file=f%d' % (fmt, i, i)]
            self.tell(name, {
                label: [self.daemon(program, nodes)
                        for _ in range(self.args.runs)]
                for label, program in self.programs(DAEMON).items()})
        return name, measure

    def extents(self, count):
        name = 'open an image of %d files' % count

        def measure():
            print(name + ': seconds, of processor')
            if not self.wants_descriptors(count + 100):
                return
            image = os.path.join(self.bench.folders['disk'],
                                 'split-%d.vmdk' % count)
            run(self.args.img, 'create', '-q', '-f', 'vmdk', '-o',
                'subformat=twoGbMaxExtentFlat', image, '%dG' % (2 * count))
            self.tell(name, {
                label: [timed(program, '-f', 'vmdk', '-t', 'none', '-i',
                              'native', '-c', 'quit', image)
                        for _ in range(self.args.runs)]
                for label, program in self.programs('qemu-io').items()})
        return name, measure

    def cases(self):
        return ([self.disks(fmt, n) for fmt in ('raw', 'vmdk')
                 for n in (1, 1000)] +
                [self.extents(n) for n in (10, 1000)])
