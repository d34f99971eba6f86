/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which GPU a job gets, and which jobs wait for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/schedule_gpu.h"
#include "tests/unit/daemon/queue_fixture.h"

static struct cwd_gpu gpus[] = {{"GPU-a", "small", 100}, {"GPU-b", "large", 300}, {"GPU-c", "third", 200}};

static int set_up_gpus(void **state)
{
	capacity = (struct cwd_capacity){.threads = 8, .memory = 1000, .n_gpus = 2, .gpus = gpus, .gpu_jobs = 1};
	return set_up(state);
}

static struct cwd_job *add(uint64_t gpu_memory, const char *asked)
{
	struct cwd_job *job = new_job("key");
	struct cwd_batch *batch;

	job->resources.gpu_memory = gpu_memory;
	(void)snprintf(job->resources.gpu, sizeof job->resources.gpu, "%s", asked);
	batch = cwd_queue_add(&queue, job, "text");
	assert_non_null(batch);
	cwd_batch_free(batch);
	assert_int_equal(cwd_queue_added(&queue, job), 0);
	return job;
}

/* The GPUs that it would get, "" for none. */
static const char *chosen(const struct cwd_job *job)
{
	static char text[CWJ_GPUS_MAX * CWD_GPU_UUID];
	const struct cwd_gpu *list[CWJ_GPUS_MAX];
	size_t n = cwd_schedule_gpus(&queue, &capacity, job, list);
	char *names = cwd_schedule_gpu_list(list, n);

	assert_non_null(names);
	(void)snprintf(text, sizeof text, "%s", names);
	free(names);
	return text;
}

/* The same, and begins. */
static const char *begin(struct cwd_job *job)
{
	const char *names = chosen(job);

	free(job->gpus);
	job->gpus = names[0] != '\0' ? strdup(names) : NULL;
	assert_int_equal(cwd_queue_begin(&queue, job, NULL, NULL, NULL), 0);
	return names;
}

static void end(struct cwd_job *job, const char *result, enum cwd_state to)
{
	assert_int_equal(cwd_queue_end(&queue, job, result, 0, 0, to, NULL, NULL, NULL), 0);
}

static void explains(const struct cwd_job *job, const char *word)
{
	char text[256] = "";

	assert_int_equal(cwd_schedule_explain(&queue, &capacity, job, 0, text, sizeof text), 1);
	if (strstr(text, word) == NULL) {
		fail_msg("\"%s\" does not say \"%s\"", text, word);
	}
}

static void test_whole(void **state)
{
	struct cwd_job *first = add(50, ""), *second = add(50, ""), *third = add(50, ""), *cpu = add(0, "");

	(void)state;
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), first);
	assert_string_equal(begin(first), "GPU-b"); /* the one with most room */
	assert_string_equal(first->attempts[0].gpus, "GPU-b");
	assert_string_equal(begin(second), "GPU-a");
	/* The third waits; what needs no GPU passes it. */
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), cpu);
	assert_string_equal(begin(cpu), "");
	assert_null(cpu->attempts[0].gpus);
	assert_null(cwd_schedule_next(&queue, &capacity));
	explains(third, "2 of 2 are in use");
	end(first, "done", CWD_DONE);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), third);
	assert_string_equal(begin(third), "GPU-b");
}

/* The share of threads of a job whose turn it is stays free. */
static void test_turn(void **state)
{
	struct cwd_job *first = add(200, ""), *second = add(200, ""), *cpu = add(0, "");

	(void)state;
	assert_string_equal(begin(first), "GPU-b");
	second->resources.threads = 7;
	assert_null(cwd_schedule_next(&queue, &capacity));
	second->resources.threads = 6;
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), cpu);
	/* Jobs that need a GPU do not pass one that waits for it. */
	cpu->resources.gpu_memory = 50;
	assert_null(cwd_schedule_next(&queue, &capacity));
	explains(second, "needs a GPU with 0 MiB");
}

static void test_named(void **state)
{
	struct cwd_job *first = add(50, "gpu-A"), *second = add(50, "GPU-a"), *none = add(50, "GPU-x"), *cpu;

	(void)state;
	assert_string_equal(begin(first), "GPU-a");
	assert_string_equal(chosen(second), "");
	explains(second, "GPU-a, which is in use");
	end(first, "done", CWD_DONE);
	assert_string_equal(begin(second), "GPU-a");
	/* What is not there is waited for, by that job alone. */
	assert_string_equal(chosen(none), "");
	explains(none, "which this daemon does not have");
	cpu = add(50, "");
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), cpu);
}

static void test_shares(void **state)
{
	struct cwd_job *job[4];

	(void)state;
	capacity.gpu_jobs = 2;
	for (int i = 0; i < 4; i++) {
		job[i] = add(100, "");
	}
	assert_string_equal(begin(job[0]), "GPU-b");
	assert_string_equal(begin(job[1]), "GPU-a"); /* the idle one first */
	assert_string_equal(begin(job[2]), "GPU-b"); /* GPU-a has no memory left */
	assert_string_equal(chosen(job[3]), ""); /* and GPU-b two jobs */
}

static struct cwd_job *add_several(uint32_t n, uint64_t gpu_memory, const char *asked)
{
	struct cwd_job *job = add(gpu_memory, asked);

	job->resources.gpus = n;
	capacity.n_gpus = 3;
	return job;
}

/* All at once, or none; in the order of room. */
static void test_several(void **state)
{
	struct cwd_job *one = add(50, ""), *two = add_several(2, 50, ""), *three = add_several(3, 50, "");

	(void)state;
	assert_string_equal(chosen(three), "GPU-b,GPU-c,GPU-a");
	assert_string_equal(begin(one), "GPU-b");
	assert_string_equal(begin(two), "GPU-c,GPU-a");
	assert_string_equal(two->attempts[0].gpus, "GPU-c,GPU-a");
	assert_string_equal(chosen(three), "");
	explains(three, "needs 3 GPUs at once with 0 MiB of memory each, 3 of 3 are in use");
	end(two, "done", CWD_DONE);
	assert_string_equal(chosen(three), "");
	explains(three, "1 of 3 are in use");
	end(one, "done", CWD_DONE);
	assert_string_equal(begin(three), "GPU-b,GPU-c,GPU-a");
}

/* A job that waits for several is not passed by ever new ones that would do with one. */
static void test_not_starved(void **state)
{
	struct cwd_job *first = add(50, ""), *second = add(50, ""), *pair = add_several(2, 50, ""), *late, *cpu;

	(void)state;
	capacity.n_gpus = 2;
	assert_string_equal(begin(first), "GPU-b");
	assert_string_equal(begin(second), "GPU-a");
	late = add(50, "");
	cpu = add(0, "");
	end(first, "done", CWD_DONE);
	/* GPU-b is free, and kept; what needs none goes on. */
	assert_string_equal(chosen(late), "GPU-b");
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), cpu);
	assert_string_equal(begin(cpu), "");
	assert_null(cwd_schedule_next(&queue, &capacity));
	end(second, "done", CWD_DONE);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), pair);
	assert_string_equal(begin(pair), "GPU-b,GPU-a");
	assert_null(cwd_schedule_next(&queue, &capacity));
	end(pair, "done", CWD_DONE);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), late);
}

/* Two for the same pair: one after the other. */
static void test_same_pair(void **state)
{
	struct cwd_job *first = add_several(2, 50, ""), *second = add_several(2, 50, "");

	(void)state;
	capacity.n_gpus = 2;
	assert_string_equal(begin(first), "GPU-b,GPU-a");
	assert_null(cwd_schedule_next(&queue, &capacity));
	explains(second, "2 of 2 are in use");
	end(first, "failed", CWD_FAILED);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), second);
}

static void test_several_named(void **state)
{
	struct cwd_job *job = add_several(2, 50, "gpu-a"), *other = add(50, "GPU-a"), *gone = add_several(2, 50, "GPU-x"),
		*more = add_several(4, 50, "");

	(void)state;
	assert_string_equal(chosen(job), "GPU-a,GPU-b"); /* the one that it names first */
	assert_string_equal(begin(other), "GPU-a");
	explains(job, "needs 2 GPUs with gpu-a at once");
	assert_int_equal(cwd_schedule_lacks_gpus(gone, &capacity), 1);
	explains(gone, "needs GPU GPU-x, which this daemon does not have");
	assert_int_equal(cwd_schedule_lacks_gpus(more, &capacity), 1);
	explains(more, "needs 4 GPUs, of which this daemon has 3");
	assert_int_equal(cwd_schedule_lacks_gpus(job, &capacity), 0);
}

/* Each GPU has room for what the plan says of each. */
static void test_several_shares(void **state)
{
	struct cwd_job *first = add_several(2, 100, ""), *second = add_several(2, 150, ""), *third = add_several(2, 60, "");

	(void)state;
	capacity.gpu_jobs = 2;
	assert_string_equal(begin(first), "GPU-b,GPU-c");
	assert_string_equal(chosen(second), ""); /* GPU-c has 100 left, GPU-a no more */
	explains(second, "2 of 3 are in use");
	assert_string_equal(begin(third), "GPU-a,GPU-b");
	end(first, "done", CWD_DONE);
	assert_string_equal(chosen(second), "GPU-c,GPU-b");
	/* What is more than two have gets the largest two, and its worker decides. */
	end(third, "done", CWD_DONE);
	second->resources.gpu_memory = 1000;
	assert_string_equal(chosen(second), "GPU-b,GPU-c");
}

static void test_several_move(void **state)
{
	struct cwd_job *job = add_several(2, 50, "");

	(void)state;
	assert_string_equal(begin(job), "GPU-b,GPU-c");
	end(job, "failed", CWD_QUEUED);
	job->failures = 1;
	assert_string_equal(begin(job), "GPU-a,GPU-b"); /* one of them was on it before: there is no other */
}

/* Jobs that share a GPU leave the driver what each alone leaves it. */
static void test_beyond(void **state)
{
	struct cwd_job *first = add(140, ""), *second = add(143, ""), *third = add(100, "");

	(void)state;
	gpus[0].memory = 90;
	capacity.gpu_jobs = 3;
	assert_string_equal(begin(first), "GPU-b");
	assert_string_equal(chosen(second), ""); /* 283 of 300, of which 18 are the driver's */
	second->resources.gpu_memory = 142;
	assert_string_equal(begin(second), "GPU-b");
	third->resources.gpu_memory = 1;
	assert_string_equal(begin(third), "GPU-a");
	gpus[0].memory = 100;
}

/* What needs more than there is gets the largest, and its worker decides. */
static void test_too_large(void **state)
{
	struct cwd_job *job = add(1000, ""), *other = add(10, "");

	(void)state;
	assert_string_equal(begin(job), "GPU-b");
	assert_string_equal(begin(other), "GPU-a");
}

/* Where it failed it is not tried again, if there is another. */
static void test_moves(void **state)
{
	struct cwd_job *job = add(50, "");

	(void)state;
	assert_string_equal(begin(job), "GPU-b");
	end(job, "failed", CWD_QUEUED);
	job->failures = 1;
	assert_string_equal(begin(job), "GPU-a");
	end(job, "failed", CWD_QUEUED);
	assert_string_equal(begin(job), "GPU-b");
	end(job, "failed", CWD_QUEUED);
	capacity.n_gpus = 1;
	assert_string_equal(begin(job), "GPU-a");
	end(job, "failed", CWD_QUEUED);
	assert_string_equal(begin(job), "GPU-a");
}

/* A daemon that knows no GPU leaves it to the worker. */
static void test_unknown(void **state)
{
	struct cwd_job *first = add(50, ""), *second = add(50, "");

	(void)state;
	capacity.n_gpus = 0;
	assert_int_equal(cwd_schedule_needs_gpu(first, &capacity), 0);
	assert_string_equal(begin(first), "");
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_whole, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_turn, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_named, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_shares, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_beyond, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_several, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_not_starved, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_same_pair, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_several_named, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_several_shares, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_several_move, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_too_large, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_moves, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown, set_up_gpus, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
