# SPDX-License-Identifier: GPL-2.0-or-later
# Short names for what the scripts and meson do; the build is in build/.
all: build/build.ninja
	ninja -C build

build/build.ninja:
	./configure

# DESTDIR: put before all paths, for packages.
install: all
	DESTDIR="$(abspath $(DESTDIR))" meson install -C build --no-rebuild

uninstall:
	ninja -C build uninstall

demo:
	scripts/demo

check:
	scripts/check

check-quick:
	scripts/check --quick

check-planted: all
	scripts/check-planted

build-asan/build.ninja:
	mkdir -p build-asan
	cd build-asan && ../configure --cc=clang --enable-asan --enable-ubsan

check-faults: build-asan/build.ninja
	ninja -C build-asan qemu-io qemu-img tests/faults/fault-inject.so
	scripts/check-faults --build-dir build-asan

check-kill: all
	scripts/check-kill

check-spin:
	scripts/check-spin

# All forms of the series on all shapes of QEMU's tree.
check-series: all
	SERIES_PAIRS=all BUILD_DIR=$(CURDIR)/build tests/series/apply-test.sh
	SERIES_PAIRS=all tests/series/tsan-test.sh

coverage:
	scripts/coverage

# 100,000 random changes of valid VMDK images of each subformat.
check-mutations: all
	build/tests/fuzz/mutate-vmdk --count=100000

# TIME: seconds for each; TARGET: vmdk, qemu-io, options; all without.
TIME = 60
TARGET =
fuzz:
	scripts/fuzz --time=$(TIME) $(TARGET)

style:
	scripts/style-check

# The path of a request beside a stock qemu-img and fio; some of its cases are
# scripts/bench --only PATTERN.
bench: all
	scripts/bench

# Parts of it alone: the programs of tests/bench/.
bench-micro: all
	meson test -C build --benchmark --verbose

# The long form of the tests of qemu-storage-daemon: jobs disturbed and killed
# more often, and the recursion planted.
check-e2e: all
	@for script in cached-native-backup jobs-disturbed jobs-content jobs-full-disk \
	    transactions \
	    qmp-jobs-oracle qmp-oracle qmp-robust blockdev-create fleecing \
	    howto qmp-walk nbd nbd-client nbd-tls qemu-nbd fuse vhost-user-blk \
	    export-allocations guest guest-programs; do \
	    echo "== $$script"; \
	    JOB_CYCLES=200 JOB_KILLS=100 LAIO_PLANTED=1 LAIO_GUEST=long \
	    LAIO_VHOST_SECONDS=60 WALK_SECONDS=300 CONTENT_SECONDS=300 BUILD_DIR=build \
	    QEMU_IMG_PROG=build/qemu-img QEMU_IO_PROG=build/qemu-io \
	    tests/e2e/$$script.sh || [ $$? = 77 ] || exit 1; \
	done

# Every VMDK subformat and size in both directions, next to a stock qemu-img.
check-interop: all
	INTEROP=all BUILD_DIR=build QEMU_IMG_PROG=build/qemu-img \
	    QEMU_IO_PROG=build/qemu-io tests/e2e/interop.sh

# qemu-img beside a stock one: scripts/bench-img --help.
bench-img: all
	scripts/bench-img

# Block jobs beside a stock qemu-storage-daemon: scripts/bench-jobs --help.
bench-jobs: all
	scripts/bench-jobs

# Exports beside stock servers: scripts/bench-export --help.
bench-export: all
	scripts/bench-export

clean:
	rm -rf build build-*

.PHONY: all install uninstall demo check check-quick check-planted check-faults check-kill \
    check-e2e check-interop check-mutations check-series check-spin coverage fuzz style bench \
    bench-micro bench-img bench-jobs bench-export clean
