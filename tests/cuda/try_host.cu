// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What the host's side of transfers costs on a machine: pinned memory in several ways, copies, and a file's bytes on their way
// through threads. Stands alone:
//     nvcc -std=c++17 -O2 -o try_host tests/cuda/try_host.cu -lcublasLt
//     try_host [FOLDER]        a folder in memory for a file of 1 GB, /dev/shm by default
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <cublasLt.h>
#include <cuda_runtime.h>

static const size_t LAYER = 932u << 20, FILE_BYTES = 1ul << 30;

static double now()
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static bool did(cudaError_t e, const char *what)
{
	if (e != cudaSuccess) {
		printf("%s: %s\n", what, cudaGetErrorString(e));
		(void)cudaGetLastError();
	}
	return e == cudaSuccess;
}

template <typename F> static double on_threads(int n, F f)
{
	std::vector<std::thread> all;
	double from = now();
	for (int i = 0; i < n; i++) {
		all.emplace_back(f, i);
	}
	for (auto &t : all) {
		t.join();
	}
	return now() - from;
}

static char *map(size_t bytes, bool huge)
{
	const size_t page = 2u << 20;
	char *p = (char *)mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		return nullptr;
	}
	p = (char *)(((uintptr_t)p + page - 1) / page * page);
	(void)madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static double touch(char *p, size_t bytes, int threads)
{
	return on_threads(threads, [=](int i) {
		size_t part = (bytes / threads + 4095) / 4096 * 4096, begin = i * part, end = begin + part < bytes ? begin + part : bytes;
		for (size_t at = begin; at < end; at += 4096) {
			p[at] = 1;
		}
	});
}

static double copy_time(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
	double least = 1e9;
	for (int i = 0; i < 3; i++) {
		double from = now();
		if (!did(cudaMemcpyAsync(dst, src, bytes, kind, 0), "copy") || !did(cudaStreamSynchronize(0), "copy")) {
			return -1;
		}
		least = now() - from < least ? now() - from : least;
	}
	return least;
}

static void copies(const char *what, char *p, char *d)
{
	printf("%-44s down %6.1f GB/s, up %6.1f GB/s\n", what, LAYER / copy_time(p, d, LAYER, cudaMemcpyDeviceToHost) * 1e-9,
		LAYER / copy_time(d, p, LAYER, cudaMemcpyHostToDevice) * 1e-9);
}

static void pinned(char *d)
{
	char *all[2];
	for (int i = 0; i < 2; i++) {
		double from = now();
		if (!did(cudaHostAlloc((void **)&all[i], LAYER, cudaHostAllocPortable), "cudaHostAlloc")) {
			exit(1);
		}
		printf("cudaHostAlloc of 932 MiB: %.3f s\n", now() - from);
	}
	copies("cudaHostAlloc", all[0], d);
	for (int i = 0; i < 2; i++) {
		double from = now();
		(void)cudaFreeHost(all[i]);
		printf("cudaFreeHost: %.3f s\n", now() - from);
	}
	for (int huge = 0; huge < 2; huge++) {
		for (int threads : {1, 4}) {
			char *p = map(LAYER, huge);
			double touched = touch(p, LAYER, threads), from = now();
			bool ok = did(cudaHostRegister(p, LAYER, cudaHostRegisterPortable), "cudaHostRegister");
			double registered = now() - from;
			printf("%s pages, touched by %2d threads: %.3f s, registered: %.3f s\n", huge ? "huge" : "small", threads, touched, registered);
			if (ok && threads == 4) {
				copies(huge ? "  huge, registered" : "  small, registered", p, d);
			}
			from = now();
			(void)cudaHostUnregister(p);
			printf("  unregistered: %.3f s\n", now() - from);
			(void)munmap(p, LAYER);
		}
	}
	char *p = map(LAYER, true);
	double from = now();
	(void)did(cudaHostRegister(p, LAYER, cudaHostRegisterPortable), "cudaHostRegister");
	printf("registered untouched, huge: %.3f s\n", now() - from);
	(void)cudaHostUnregister(p);
	// In parts, by several threads; then one copy over all parts.
	(void)munmap(p, LAYER);
	for (int threads : {4}) {
		p = map(LAYER, true);
		const size_t part = 64u << 20;
		std::atomic<size_t> next{0};
		double most = 0;
		double took = on_threads(threads, [&](int i) {
			for (size_t at; (at = next.fetch_add(part)) < LAYER;) {
				size_t n = LAYER - at < part ? LAYER - at : part;
				for (size_t k = 0; k < n; k += 4096) {
					p[at + k] = 1;
				}
				double begin = now();
				(void)did(cudaHostRegister(p + at, n, cudaHostRegisterPortable), "part");
				most = i == 0 && now() - begin > most ? now() - begin : most;
			}
		});
		printf("64 MiB at a time, touched and registered by %d threads: %.3f s, one at most %.4f s\n", threads, took, most);
		copies("  one copy over all of them", p, d);
		for (size_t at = 0; at < LAYER; at += part) {
			(void)cudaHostUnregister(p + at);
		}
		(void)munmap(p, LAYER);
	}
}

__global__ static void nothing(float *p)
{
	if (p != nullptr && threadIdx.x == 2000) {
		*p = 0;
	}
}

// How long launches take while another thread makes pinned memory.
static void stalls()
{
	for (int way = 0; way < 3; way++) {
		std::atomic<int> over{0};
		std::thread other([&] {
			char *p = nullptr;
			double from = now();
			if (way == 0) {
				(void)cudaHostAlloc((void **)&p, LAYER, cudaHostAllocPortable);
			} else {
				p = map(LAYER, true);
				size_t part = way == 1 ? LAYER : 64u << 20;
				(void)touch(p, LAYER, 4);
				from = now();
				for (size_t at = 0; at < LAYER; at += part) {
					(void)did(cudaHostRegister(p + at, LAYER - at < part ? LAYER - at : part, cudaHostRegisterPortable), "part");
				}
			}
			printf("%s beside launches: %.3f s; ", way == 0 ? "cudaHostAlloc" : way == 1 ? "cudaHostRegister" : "cudaHostRegister of 64 MiB", now() - from);
			over = 1;
		});
		double most = 0, sum = 0;
		int n = 0;
		while (!over) {
			double from = now();
			nothing<<<1, 32>>>(nullptr);
			double took = now() - from;
			most = took > most ? took : most;
			sum += took;
			n++;
			if (n % 256 == 0) {
				(void)cudaStreamSynchronize(0);
			}
		}
		other.join();
		printf("%d launches, %.1f us each, %.3f s at most\n", n, sum / n * 1e6, most);
	}
}

static int all_finite(const uint16_t *x, size_t n)
{
	uint16_t bad = 0;
	for (size_t i = 0; i < n; i++) {
		bad |= (uint16_t)((x[i] & 0x7f80) == 0x7f80);
	}
	return !bad;
}

enum way { READ = 1, CHECK = 2, COPY = 4, DIRECT = 8, MAPPED = 16 };

static double through(int fd, char *mapped, char *to, int threads, int what, size_t step)
{
	std::atomic<size_t> next{0};
	std::atomic<int> bad{0};
	double took = on_threads(threads, [&](int) {
		char *own = (char *)aligned_alloc(4096, step);
		memset(own, 1, step);
		for (size_t at; (at = next.fetch_add(step)) < FILE_BYTES;) {
			char *staged = to + at % (LAYER / step * step);
			char *p = what & DIRECT ? staged : what & MAPPED ? mapped + at : own;
			if (what & READ && pread(fd, p, step, (off_t)at) != (ssize_t)step) {
				bad = 1;
			}
			if (what & CHECK && !all_finite((const uint16_t *)p, step / 2)) {
				bad = 1;
			}
			if (what & COPY) {
				memcpy(staged, p, step);
			}
		}
		free(own);
	});
	if (bad) {
		printf("bad ");
	}
	return FILE_BYTES / took * 1e-9;
}

static void reading(const std::string &folder)
{
	std::string path = folder + "/try_host.bin";
	int fd = open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600);
	if (fd < 0 || unlink(path.c_str()) != 0 || ftruncate(fd, FILE_BYTES) != 0) {
		perror(path.c_str());
		return;
	}
	std::vector<char> block(8u << 20, 0x3c);
	for (size_t at = 0; at < FILE_BYTES; at += block.size()) {
		if (pwrite(fd, block.data(), block.size(), (off_t)at) < 0) {
			perror("write");
		}
	}
	char *to = nullptr, *mapped = (char *)mmap(nullptr, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (!did(cudaHostAlloc((void **)&to, LAYER, cudaHostAllocPortable), "pinned")) {
		return;
	}
	printf("GB/s by threads                   1      4      8     16\n");
	const struct {
		const char *name;
		int what;
		size_t step;
	} rows[] = {{"read", READ, 512u << 10}, {"read, check", READ | CHECK, 512u << 10}, {"read, check, copy to pinned", READ | CHECK | COPY, 512u << 10},
		{"read to pinned, check", READ | CHECK | DIRECT, 512u << 10},
		{"mapped, check, copy", MAPPED | CHECK | COPY, 512u << 10}};
	for (const auto &row : rows) {
		printf("%-28s", row.name);
		for (int threads : {1, 4, 8, 16}) {
			printf(" %6.1f", through(fd, mapped, to, threads, row.what, row.step));
		}
		printf("\n");
	}
	// One thread that copies what others have read.
	std::vector<char> far(466u << 20);
	(void)on_threads(8, [&](int i) { memset(far.data() + far.size() / 8 * i, i, far.size() / 8); });
	double from = now();
	memcpy(to, far.data(), far.size());
	printf("one thread copies memory to pinned: %.1f GB/s\n", far.size() / (now() - from) * 1e-9);
	(void)cudaFreeHost(to);
	(void)close(fd);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, nullptr, _IOLBF, 0);
	double from = now();
	(void)cudaFree(nullptr);
	printf("context: %.3f s\n", now() - from);
	cublasLtHandle_t lt;
	from = now();
	(void)cublasLtCreate(&lt);
	printf("cuBLASLt: %.3f s\n", now() - from);
	char *d = nullptr;
	from = now();
	if (!did(cudaMalloc((void **)&d, LAYER), "cudaMalloc")) {
		return 1;
	}
	printf("cudaMalloc of 932 MiB: %.3f s\n", now() - from);
	pinned(d);
	stalls();
	reading(argc > 1 ? argv[1] : "/dev/shm");
	printf("ok\n");
	return 0;
}
