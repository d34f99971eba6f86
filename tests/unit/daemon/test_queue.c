/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Transitions, events and the order of jobs, with a clock that stands still and a store that only
 * listens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/daemon/queue_fixture.h"

static int set_up_queue(void **state)
{
	capacity = (struct cwd_capacity){.threads = 4, .memory = 1000, .running = 2};
	return set_up(state);
}

static struct cwd_job *add(int priority, uint32_t threads, uint64_t memory)
{
	struct cwd_job *job = new_job("key");
	struct cwd_batch *batch;

	job->priority = priority;
	job->resources.threads = threads;
	job->resources.memory = memory;
	batch = cwd_queue_add(&queue, job, "text");
	assert_non_null(batch);
	assert_false(batch->out_of_memory);
	assert_int_equal(batch->first->n_values, 18);
	cwd_batch_free(batch);
	assert_int_equal(cwd_queue_added(&queue, job), 0);
	return job;
}

static void begin(struct cwd_job *job)
{
	assert_int_equal(cwd_queue_begin(&queue, job, NULL, NULL, NULL), 0);
}

static void test_table(void **state)
{
	static const char *const may[CWD_N_STATES] = {
		[CWD_QUEUED] = "held running done failed cancelled",
		[CWD_HELD] = "queued done cancelled",
		[CWD_RUNNING] = "queued paused done failed rejected cancelled",
		[CWD_PAUSED] = "queued done cancelled",
		[CWD_DONE] = "",
		[CWD_FAILED] = "queued",
		[CWD_REJECTED] = "queued",
		[CWD_CANCELLED] = "queued"};
	int from, to;

	(void)state;
	for (from = 0; from < CWD_N_STATES; from++) {
		for (to = 0; to < CWD_N_STATES; to++) {
			int expected =
				strstr(may[from], cwd_state_name((enum cwd_state)to)) != NULL;

			if (cwd_state_may((enum cwd_state)from, (enum cwd_state)to) != expected) {
				fail_msg("%s -> %s", cwd_state_name((enum cwd_state)from),
					cwd_state_name((enum cwd_state)to));
			}
		}
		assert_int_equal(cwd_state_find(cwd_state_name((enum cwd_state)from)), from);
	}
	assert_int_equal(cwd_state_find("lost"), -1);
}

static void test_life(void **state)
{
	struct cwd_job *job = add(0, 1, 0);
	struct cwb_err error = {0}, err = {0};

	(void)state;
	assert_int_equal(
		cwd_queue_end(&queue, job, "done", 0, 0, CWD_DONE, NULL, NULL, &err), CWP_ESTATE);
	begin(job);
	assert_int_equal(job->state, CWD_RUNNING);
	assert_int_equal(queue.counts[CWD_RUNNING], 1);
	clock_now += 5;
	assert_int_equal(
		cwd_queue_end(&queue, job, "interrupted", -1, 9, CWD_QUEUED, "killed", NULL, NULL),
		0);
	assert_int_equal(job->interruptions, 1);
	assert_string_equal(job->reason, "killed");
	begin(job);
	cwd_queue_checkpoint(&queue, job);
	assert_int_equal(job->interruptions, 0);
	assert_int_equal(last_kind, CWD_EVENT_CHECKPOINT);
	clock_now += 7;
	cwb_err_set(&error, CWP_EDIGEST, "differs");
	assert_int_equal(
		cwd_queue_end(&queue, job, "failed", 1, 0, CWD_FAILED, "differs", &error, NULL), 0);
	assert_int_equal(job->error->code, CWP_EDIGEST);
	assert_true(job->ended == 1012 && job->started == 1000);
	assert_true(cwd_job_seconds(job) == 12);
	assert_int_equal(job->n_attempts, 2);
	assert_int_equal(job->attempts[1].checkpoints, 1);
	assert_int_equal(cwd_queue_move(&queue, job, CWD_HELD, NULL, &err), CWP_ESTATE);
	assert_int_equal(cwd_queue_move(&queue, job, CWD_QUEUED, NULL, NULL), 0);
	assert_null(job->error);
	assert_true(job->ended == 0);
	assert_int_equal(cwd_queue_remove(&queue, job, NULL), CWP_ESTATE);
	assert_int_equal(cwd_queue_move(&queue, job, CWD_CANCELLED, "no", NULL), 0);
	assert_int_equal(cwd_queue_remove(&queue, job, NULL), 0);
	assert_int_equal(queue.n_jobs, 0);
	assert_null(cwd_queue_find(&queue, 1));
	assert_int_equal(last_kind, CWD_EVENT_REMOVED);
	assert_int_equal(n_events, queue.last_seq);
}

static void test_events_come_after_the_commit(void **state)
{
	struct cwd_job *job = add(0, 1, 0);

	(void)state;
	hold = 1;
	assert_int_equal(cwd_queue_move(&queue, job, CWD_HELD, "wait", NULL), 0);
	assert_int_equal(job->state, CWD_HELD);
	assert_int_equal(job->unstored, 1);
	assert_int_equal(n_events, 0);
	assert_int_equal(queue.n_events, 0);
	deliver(held_back);
	held_back = NULL;
	assert_int_equal(n_events, 1);
	assert_int_equal(last_state, CWD_HELD);
	assert_int_equal(job->unstored, 0);
	assert_int_equal(cwd_queue_event_after(&queue, 0), 0);
	assert_int_equal(cwd_queue_event_after(&queue, queue.last_seq), 1);
}

static void test_events_are_bounded(void **state)
{
	struct cwd_job *job = add(0, 1, 0);
	int i;

	(void)state;
	for (i = 0; i < CWD_EVENTS_MAX + 2000; i++) {
		assert_int_equal(
			cwd_queue_move(&queue, job, i % 2 ? CWD_QUEUED : CWD_HELD, "r", NULL), 0);
	}
	assert_true(queue.n_events >= CWD_EVENTS_MAX &&
		    queue.n_events <= CWD_EVENTS_MAX + CWD_EVENTS_MAX / 10);
	assert_int_equal(queue.events[queue.n_events - 1].seq, queue.last_seq);
}

static void test_find(void **state)
{
	struct cwd_job *a = add(0, 1, 0), *b = add(0, 1, 0);

	(void)state;
	assert_ptr_equal(cwd_queue_find(&queue, a->id), a);
	assert_ptr_equal(cwd_queue_find(&queue, b->id), b);
	assert_null(cwd_queue_find(&queue, 99));
	assert_ptr_equal(cwd_queue_find_key(&queue, 0, "key"), b);
	assert_null(cwd_queue_find_key(&queue, 1, "key"));
	assert_ptr_equal(cwd_queue_find_output(&queue, "/o"), b);
	cwd_queue_move(&queue, a, CWD_CANCELLED, NULL, NULL);
	cwd_queue_move(&queue, b, CWD_CANCELLED, NULL, NULL);
	assert_null(cwd_queue_find_output(&queue, "/o"));
}

static void test_order(void **state)
{
	struct cwd_job *a = add(0, 1, 0), *b = add(0, 1, 0), *high = add(9, 1, 0);

	(void)state;
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), high);
	begin(high);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), a);
	cwd_queue_set_priority(&queue, b, 0, 1);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), b);
	begin(b);
	assert_null(cwd_schedule_next(&queue, &capacity)); /* two run */
	capacity.running = 0;
	capacity.draining = 1;
	assert_null(cwd_schedule_next(&queue, &capacity));
	capacity.draining = 0;
	a->cleaning = 1;
	assert_null(cwd_schedule_next(&queue, &capacity));
	a->cleaning = 0;
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), a);
}

static void test_resources(void **state)
{
	struct cwd_job *a = add(0, 3, 600), *big = add(0, 2, 10), *small = add(0, 1, 10);
	char text[200];

	(void)state;
	capacity.running = 0;
	begin(a);
	/* The small one does not overtake the one that waits for threads. */
	assert_null(cwd_schedule_next(&queue, &capacity));
	assert_int_equal(cwd_schedule_explain(&queue, &capacity, big, 0, text, sizeof text), 1);
	assert_string_equal(text, "needs 2 threads, 3 of 4 are in use");
	assert_int_equal(cwd_schedule_explain(&queue, &capacity, big, 1, text, sizeof text), 0);
	assert_int_equal(cwd_schedule_explain(&queue, &capacity, small, 0, text, sizeof text), 1);
	assert_string_equal(text, "1 job is before it in the queue");
	big->resources.memory = 500;
	big->resources.threads = 1;
	assert_null(cwd_schedule_next(&queue, &capacity));
	cwd_queue_end(&queue, a, "done", 0, 0, CWD_DONE, NULL, NULL, NULL);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), big);
	/* All threads, and more memory than there is: it runs alone. */
	big->resources.threads = 0;
	big->resources.memory = 5000;
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), big);
	begin(big);
	assert_null(cwd_schedule_next(&queue, &capacity));
}

static void test_quota_of_a_user(void **state)
{
	struct cwd_job *mine = add(0, 1, 0), *mine_too = add(5, 1, 0), *theirs = add(0, 1, 0);
	char text[200];

	(void)state;
	theirs->uid = 5;
	capacity.running = 0;
	capacity.running_per_user = 1;
	begin(mine);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), theirs);
	assert_int_equal(
		cwd_schedule_explain(&queue, &capacity, mine_too, 0, text, sizeof text), 1);
	assert_non_null(strstr(text, "quotas.running"));
}

static void test_dependencies(void **state)
{
	static const struct {
		const char *after;
		enum cwd_state parent;
		enum cwd_wait expected;
	} cases[] = {{"1", CWD_QUEUED, CWD_WAIT_YES}, {"1", CWD_DONE, CWD_WAIT_NO},
		{"ok:1", CWD_FAILED, CWD_WAIT_NEVER}, {"1", CWD_CANCELLED, CWD_WAIT_NEVER},
		{"any:1", CWD_CANCELLED, CWD_WAIT_NO}, {"any:1", CWD_PAUSED, CWD_WAIT_YES},
		{"notok:1", CWD_DONE, CWD_WAIT_NEVER}, {"notok:1", CWD_REJECTED, CWD_WAIT_NO},
		{"any:77", CWD_DONE, CWD_WAIT_NEVER}};
	struct cwd_job *parent = add(0, 1, 0), *child = add(0, 1, 0);
	size_t i;

	(void)state;
	child->after = calloc(1, sizeof *child->after);
	child->n_after = 1;
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t id;
		int parent_state;

		assert_int_equal(cwd_after_parse_one(cases[i].after, child->after, NULL), 0);
		parent->state = cases[i].parent;
		if (cwd_schedule_dependency(&queue, child, &id, &parent_state) !=
			cases[i].expected) {
			fail_msg("case %zu", i);
		}
	}
	parent->state = CWD_QUEUED;
}

static void test_texts(void **state)
{
	static const char *const bad[] = {
		"", "x", "ok:", "ok:x", "OK:1", "1:ok", "-1", "0", "maybe:1", "any:01", "1 "};
	const struct cwd_resources resources = {3, 1ull << 60, 2, 1, 99, 2, "GPU-1"};
	struct cwd_resources again = {0};
	struct cwb_err error = {0}, error_again = {0};
	struct cwd_after *after, one;
	size_t i, n;
	char *text;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(cwd_after_parse_one(bad[i], &one, NULL), CWP_EFORMAT);
	}
	assert_int_equal(cwd_after_parse("ok:1 any:22 notok:333", &after, &n, NULL), 0);
	assert_int_equal(n, 3);
	text = cwd_after_print(after, n);
	assert_string_equal(text, "ok:1 any:22 notok:333");
	free(text);
	free(after);
	assert_int_equal(cwd_after_parse("", &after, &n, NULL), 0);
	assert_int_equal(n, 0);
	free(after);
	assert_int_equal(cwd_after_parse("ok:1 nonsense", &after, &n, NULL), CWP_EFORMAT);
	text = cwd_resources_print(&resources);
	assert_int_equal(cwd_resources_parse(text, &again, NULL), 0);
	assert_true(again.threads == 3 && again.memory == 1ull << 60 && again.gpu_memory == 2 &&
		    again.scratch == 1 && again.time == 99 && again.gpus == 2 && strcmp(again.gpu, "GPU-1") == 0);
	free(text);
	assert_true(cwd_resources_parse("{}", &again, NULL) < 0);
	assert_int_equal(cwd_resources_parse("{\"threads\":1,\"memory\":2,\"gpu_memory\":3,\"scratch\":4,\"time\":5}", &again, NULL), 0);
	assert_int_equal(again.gpus, 0); /* as earlier daemons wrote it */
	assert_true(cwd_resources_parse("{\"threads\":1,\"memory\":2,\"gpu_memory\":3,\"scratch\":4,\"time\":5,\"gpus\":17}", &again, NULL) < 0);
	cwb_err_set(&error, CWP_EVALUE, "a \"quoted\" word");
	error.line = 4;
	text = cwd_error_print(&error);
	assert_int_equal(cwd_error_parse(text, &error_again, NULL), 0);
	assert_string_equal(error_again.message, error.message);
	assert_int_equal(error_again.line, 4);
	free(text);
	assert_true(cwd_error_parse("{\"code\":1,\"message\":\"x\"}", &error_again, NULL) < 0);
}

static void test_progress(void **state)
{
	struct cwd_progress progress = {0};
	struct cww_status status = {.kind = CWW_STATUS_PROGRESS,
		.stage = CWW_STAGE_SCORE,
		.done = 0,
		.total = 100,
		.unit = "s"};
	int i;

	(void)state;
	assert_true(cwd_progress_fraction(&progress) < 0);
	cwd_progress_note(&progress, &status, 10);
	assert_true(progress.rate == 0 && progress.eta < 0);
	for (i = 1; i <= 10; i++) {
		status.done = (uint64_t)(5 * i);
		cwd_progress_note(&progress, &status, 10 + i);
	}
	assert_true(progress.rate > 4.99 && progress.rate < 5.01);
	assert_true(progress.eta > 9.9 && progress.eta < 10.1);
	assert_true(cwd_progress_fraction(&progress) == 0.5);
	/* A new stage forgets the old rate. */
	status.stage = CWW_STAGE_WRITE;
	status.done = 0;
	status.total = 0;
	cwd_progress_note(&progress, &status, 21);
	assert_true(progress.rate == 0 && progress.eta < 0 && cwd_progress_fraction(&progress) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
		cmocka_unit_test_setup_teardown(test_life, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(
			test_events_come_after_the_commit, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_events_are_bounded, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_find, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_order, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_resources, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_quota_of_a_user, set_up_queue, tear_down),
		cmocka_unit_test_setup_teardown(test_dependencies, set_up_queue, tear_down),
		cmocka_unit_test(test_texts), cmocka_unit_test(test_progress)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
