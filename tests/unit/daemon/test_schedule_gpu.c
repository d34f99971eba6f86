/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which GPU a job gets, and which jobs wait for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/schedule_gpu.h"
#include "tests/unit/daemon/queue_fixture.h"

static struct cwd_gpu gpus[] = {{"GPU-a", "small", 100}, {"GPU-b", "large", 300}};

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

/* The GPU that it gets, "" for none, and begins. */
static const char *begin(struct cwd_job *job)
{
	const struct cwd_gpu *gpu = cwd_schedule_gpu(&queue, &capacity, job);

	(void)snprintf(job->gpu, sizeof job->gpu, "%s", gpu != NULL ? gpu->uuid : "");
	assert_int_equal(cwd_queue_begin(&queue, job, NULL, NULL, NULL), 0);
	return job->gpu;
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
	assert_string_equal(first->attempts[0].gpu, "GPU-b");
	assert_string_equal(begin(second), "GPU-a");
	/* The third waits; what needs no GPU passes it. */
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), cpu);
	assert_string_equal(begin(cpu), "");
	assert_null(cpu->attempts[0].gpu);
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
	struct cwd_job *first = add(50, "gpu-A"), *second = add(50, "GPU-a"), *none = add(50, "GPU-c");

	(void)state;
	assert_string_equal(begin(first), "GPU-a");
	assert_null(cwd_schedule_gpu(&queue, &capacity, second));
	explains(second, "GPU-a, which is in use");
	end(first, "done", CWD_DONE);
	assert_string_equal(begin(second), "GPU-a");
	assert_null(cwd_schedule_gpu(&queue, &capacity, none));
	explains(none, "which this daemon does not have");
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
	assert_null(cwd_schedule_gpu(&queue, &capacity, job[3])); /* and GPU-b two jobs */
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
		cmocka_unit_test_setup_teardown(test_too_large, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_moves, set_up_gpus, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown, set_up_gpus, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
