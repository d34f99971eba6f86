// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Runs kernels on the CPU: blocks one after another, each thread of a block as a context of its own, which runs until it waits.
// Every order of threads is a possible one: CWP_EMULATED_ORDER is "forward", "backward" or "random", and an operation that gives
// other bytes in another order lacks a barrier. Threads that wait for what never comes are an error, too.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <ucontext.h>

#include <cuda_runtime.h>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum { STACK = 1 << 16, MOST_THREADS = 1024, LANES = 32, MOST_BYTES = 16 };

struct thread {
	bool made;
	jmp_buf at; // where it waits, or for its next block
	dim3 number;
	bool done;
	unsigned long block_waits; // barriers of the block that it came to
	unsigned long warp_waits;
};

struct thread threads[MOST_THREADS];
char stacks[MOST_THREADS][STACK];
char given[MOST_THREADS][MOST_BYTES]; // by each lane
unsigned count;                       // threads of a block
unsigned now;                         // which of them runs
unsigned long events;                 // waits begun and threads ended
jmp_buf scheduler;
const std::function<void()> *running;

// The library's own jump: a sanitizer's takes its time at each.
void jump(jmp_buf to)
{
	static void (*const own)(jmp_buf, int) = [] {
		void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), *f = libc ? dlsym(libc, "_longjmp") : nullptr;
		return f ? reinterpret_cast<void (*)(jmp_buf, int)>(f) : &_longjmp;
	}();
	own(to, 1);
}

// To a thread or back; a context is made once and then left and entered by jumps, which ask nothing of the system.
void leave()
{
	if (_setjmp(threads[now].at) == 0) {
		jump(scheduler);
	}
}

// All blocks' threads of one number.
void enter()
{
	for (;;) {
		(*running)();
		threads[now].done = true;
		events++;
		leave();
	}
}

void go_on()
{
	static ucontext_t context, unused;
	struct thread *t = &threads[now];
	if (_setjmp(scheduler) != 0) {
		return;
	}
	if (t->made) {
		jump(t->at);
	}
	t->made = true;
	getcontext(&context);
	context.uc_stack.ss_sp = stacks[now];
	context.uc_stack.ss_size = STACK;
	context.uc_link = nullptr;
	makecontext(&context, enter, 0);
	swapcontext(&unused, &context);
}

// Waits until all of the threads [first, end) have come as far as this one.
void wait_for(unsigned first, unsigned end, unsigned long thread::*waits)
{
	unsigned me = now;
	unsigned long mine = ++(threads[me].*waits);
	events++;
	for (unsigned i = first; i < end;) {
		if (threads[i].*waits >= mine) {
			i++;
		} else if (threads[i].done) {
			// A barrier does not wait for threads that have returned, an exchange cannot do without them.
			if (waits == &thread::warp_waits) {
				emulated_fail("a lane has returned that others exchange with");
			}
			i++;
		} else {
			leave();
		}
	}
}

void make_threads(dim3 block)
{
	for (unsigned i = 0; i < count; i++) {
		struct thread *t = &threads[i];
		t->done = false;
		t->block_waits = t->warp_waits = 0;
		t->number = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
	}
}

// The order of one turn.
void put_in_order(std::vector<unsigned> &order)
{
	static const char *const name = getenv("CWP_EMULATED_ORDER");
	static unsigned random = 1;
	char kind = name ? name[0] : 'f';
	for (unsigned i = 0; i < count; i++) {
		order[i] = kind == 'b' ? count - 1 - i : i;
	}
	for (unsigned i = count - 1; kind == 'r' && i > 0; i--) {
		random = random * 1664525U + 1013904223U;
		std::swap(order[i], order[(random >> 8) % (i + 1)]);
	}
}

void run_block()
{
	std::vector<unsigned> order(count);
	for (bool alive = true; alive;) {
		unsigned long before = events;
		alive = false;
		put_in_order(order);
		for (unsigned i : order) {
			if (!threads[i].done) {
				alive = true;
				now = i;
				threadIdx = threads[i].number;
				go_on();
			}
		}
		// In one turn, threads that wait may find that the last one has come.
		static unsigned idle;
		idle = alive && before == events ? idle + 1 : 0;
		if (idle > 2) {
			emulated_fail("threads wait for others that never come");
		}
	}
}

} // namespace

void emulated_fail(const char *what)
{
	fprintf(stderr, "emulated kernel: %s (block %u, thread %u)\n", what, blockIdx.x, now);
	abort();
}

void __syncthreads()
{
	wait_for(0, count, &thread::block_waits);
}

// The second wait: what was given is not overwritten before all have it.
void emulated_exchange(const void *mine, size_t size, unsigned lane, void *other)
{
	unsigned first = now / LANES * LANES;
	if (size > MOST_BYTES) {
		emulated_fail("an exchange of more than 16 bytes");
	}
	memcpy(given[now], mine, size);
	wait_for(first, first + LANES, &thread::warp_waits);
	memcpy(other, given[first + lane], size);
	wait_for(first, first + LANES, &thread::warp_waits);
}

void emulated_multiply(double (&c)[4], const double (&a)[4], const double (&b)[2])
{
	static struct {
		double a[4], b[2];
	} lanes[MOST_THREADS];
	unsigned first = now / LANES * LANES, me = now, g = now % LANES / 4, t = now % LANES % 4;
	memcpy(lanes[me].a, a, sizeof(a));
	memcpy(lanes[me].b, b, sizeof(b));
	wait_for(first, first + LANES, &thread::warp_waits);
	for (unsigned i = 0; i < 4; i++) {
		unsigned row = g + i / 2 * 8, col = 2 * t + i % 2;
		for (unsigned k = 0; k < 8; k++) {
			// Of the lane that has this row and step, and of the one that has this column.
			double x = lanes[first + row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2], y = lanes[first + col * 4 + k % 4].b[k / 4];
			c[i] += x * y;
		}
	}
	wait_for(first, first + LANES, &thread::warp_waits);
}

void emulated_start(dim3 grid, dim3 block, const std::function<void()> &kernel)
{
	count = block.x * block.y * block.z;
	gridDim = grid;
	blockDim = block;
	running = &kernel;
	if (count == 0 || count > MOST_THREADS || count % LANES != 0 || grid.x == 0 || grid.x > 0x7fffffffU || grid.y != 1 || grid.z != 1) {
		emulated_fail("a grid or block of a size that is not allowed");
	}
	for (unsigned i = 0; i < grid.x; i++) {
		blockIdx = dim3(i, 0, 0);
		make_threads(block);
		run_block();
	}
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind, cudaStream_t)
{
	memmove(to, from, bytes);
	return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
	return cudaSuccess;
}
