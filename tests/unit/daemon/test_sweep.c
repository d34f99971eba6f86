/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sweeps in the queue: the state that follows from those of the jobs, the turn of the report, what
 * the schedule and the counts make of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/sweep.h"
#include "tests/unit/daemon/queue_fixture.h"

static int set_up_sweeps(void **state)
{
	capacity = (struct cwd_capacity){.threads = 4, .memory = 1000, .now = 5};
	return set_up(state);
}

/* A sweep of n jobs, in one batch. */
static struct cwd_job *add(size_t n)
{
	struct cwd_batch *batch = cwd_batch_new();
	struct cwd_job *sweep = new_job("sweep"), *job[8];
	int inserts = 0, updates = 0;

	sweep->n_children = n;
	sweep->point = strdup("[\"seed\"]");
	cwd_queue_number(&queue, sweep);
	cwd_queue_insert(batch, sweep, "text");
	for (size_t i = 0; i < n; i++) {
		job[i] = new_job("child");
		job[i]->parent = sweep->id;
		cwd_queue_number(&queue, job[i]);
		cwd_queue_insert(batch, job[i], "text");
	}
	for (const struct cwd_write *w = batch->first; w != NULL; w = w->next) {
		inserts += w->statement == CWD_INSERT_JOB;
		updates += w->statement == CWD_UPDATE_SWEEP;
	}
	assert_int_equal(inserts, n + 1);
	assert_int_equal(updates, n + 1);
	assert_false(batch->out_of_memory);
	cwd_batch_free(batch);
	assert_int_equal(cwd_queue_reserve(&queue, n + 1), 0);
	assert_int_equal(cwd_queue_added(&queue, sweep), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(cwd_queue_added(&queue, job[i]), 0);
		assert_ptr_equal(cwd_sweep_child(&queue, sweep, i), job[i]);
	}
	assert_null(cwd_sweep_child(&queue, sweep, n));
	return sweep;
}

static void begin(struct cwd_job *job)
{
	assert_int_equal(cwd_queue_begin(&queue, job, NULL, NULL, NULL), 0);
}

static void end(struct cwd_job *job, enum cwd_state to)
{
	assert_int_equal(cwd_queue_end(&queue, job, "x", 0, 0, to, NULL, NULL, NULL), 0);
}

static void move(struct cwd_job *job, enum cwd_state to)
{
	assert_int_equal(cwd_queue_move(&queue, job, to, NULL, NULL), 0);
}

static struct cwd_job *child(struct cwd_job *sweep, size_t i)
{
	return cwd_sweep_child(&queue, sweep, i);
}

/* As the daemon does it. */
static void write_report(struct cwd_job *sweep, enum cwd_state ends)
{
	assert_ptr_equal(cwd_sweep_next_report(&queue, 5), sweep);
	begin(sweep);
	sweep->starting = 1;
	assert_null(cwd_sweep_next_report(&queue, 5));
	sweep->starting = 0;
	end(sweep, cwd_sweep_after_report(&queue, sweep, ends));
}

static void test_life(void **state)
{
	struct cwd_job *sweep = add(2);

	(void)state;
	assert_int_equal(queue.counts[CWD_QUEUED], 2); /* a sweep is no job of its own */
	assert_null(cwd_sweep_next_report(&queue, 5));
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), child(sweep, 0));
	begin(child(sweep, 0));
	assert_int_equal(sweep->state, CWD_RUNNING);
	assert_true(sweep->started == 1000);
	end(child(sweep, 0), CWD_DONE);
	assert_int_equal(sweep->state, CWD_RUNNING); /* others are queued */
	assert_true(
		sweep->progress.of_jobs && sweep->progress.done == 1 && sweep->progress.total == 2);
	begin(child(sweep, 1));
	end(child(sweep, 1), CWD_DONE);
	assert_int_equal(sweep->state, CWD_RUNNING); /* its report is to be written */
	write_report(sweep, CWD_DONE);
	assert_int_equal(sweep->state, CWD_DONE);
	assert_null(cwd_sweep_next_report(&queue, 5));
	assert_string_equal(heard, "running running done ");
}

/* What the sweep's jobs are makes what it is. */
static void test_open_states(void **state)
{
	struct cwd_job *sweep = add(3);

	(void)state;
	move(child(sweep, 0), CWD_HELD);
	assert_int_equal(sweep->state, CWD_QUEUED);
	move(child(sweep, 1), CWD_HELD);
	move(child(sweep, 2), CWD_HELD);
	assert_int_equal(sweep->state, CWD_HELD);
	move(child(sweep, 0), CWD_QUEUED);
	begin(child(sweep, 0));
	assert_int_equal(sweep->state, CWD_RUNNING);
	end(child(sweep, 0), CWD_PAUSED);
	assert_int_equal(sweep->state, CWD_PAUSED);
	move(child(sweep, 0), CWD_QUEUED);
	begin(child(sweep, 0));
	end(child(sweep, 0), CWD_QUEUED); /* interrupted: none runs, none has ended */
	assert_int_equal(sweep->state, CWD_QUEUED);
	begin(child(sweep, 0));
	end(child(sweep, 0), CWD_DONE);
	assert_int_equal(sweep->state, CWD_HELD); /* what is left is held */
	move(child(sweep, 1), CWD_QUEUED);
	assert_int_equal(sweep->state, CWD_RUNNING);
	assert_string_equal(
		heard, "held queued running paused queued running queued running held running ");
}

static void test_outcomes(void **state)
{
	static const struct {
		enum cwd_state jobs[3], sweep;
		int reported;
	} cases[] = {
		{{CWD_DONE, CWD_DONE, CWD_DONE}, CWD_DONE, 1},
		{{CWD_DONE, CWD_REJECTED, CWD_DONE}, CWD_REJECTED, 1},
		{{CWD_REJECTED, CWD_CANCELLED, CWD_DONE}, CWD_CANCELLED, 1},
		{{CWD_CANCELLED, CWD_FAILED, CWD_REJECTED}, CWD_FAILED, 1},
		{{CWD_FAILED, CWD_FAILED, CWD_CANCELLED}, CWD_FAILED, 0},
		{{CWD_CANCELLED, CWD_CANCELLED, CWD_CANCELLED}, CWD_CANCELLED, 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cwd_job *sweep;

		assert_int_equal(set_up(state), 0);
		sweep = add(3);
		for (size_t k = 0; k < 3; k++) {
			begin(child(sweep, k));
			end(child(sweep, k), cases[i].jobs[k]);
		}
		if (cases[i].reported) {
			assert_int_equal(sweep->state, CWD_RUNNING);
			write_report(sweep, CWD_DONE);
		}
		assert_int_equal(sweep->state, cases[i].sweep);
		assert_null(cwd_sweep_next_report(&queue, 5));
		assert_true(cases[i].reported ||
			    strstr(sweep->reason, "3 of 3 jobs have ended: ") != NULL);
		cwd_queue_free(&queue);
	}
}

static void test_reports_that_do_not_come(void **state)
{
	struct cwd_job *sweep = add(1);

	(void)state;
	begin(child(sweep, 0));
	end(child(sweep, 0), CWD_DONE);
	write_report(sweep, CWD_QUEUED); /* interrupted: again */
	assert_int_equal(sweep->state, CWD_RUNNING);
	sweep->not_before = 6;
	assert_null(cwd_sweep_next_report(&queue, 5));
	assert_ptr_equal(cwd_sweep_next_report(&queue, 7), sweep);
	sweep->not_before = 0;
	write_report(sweep, CWD_FAILED);
	assert_int_equal(sweep->state, CWD_FAILED);
	cwd_sweep_refresh(&queue, sweep);
	assert_int_equal(sweep->state, CWD_FAILED);
	cwd_sweep_reopen(&queue, sweep);
	write_report(sweep, CWD_CANCELLED);
	assert_int_equal(sweep->state, CWD_CANCELLED);
}

static void test_a_job_again(void **state)
{
	struct cwd_job *sweep = add(2);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		begin(child(sweep, i));
		end(child(sweep, i), i == 0 ? CWD_DONE : CWD_FAILED);
	}
	write_report(sweep, CWD_DONE);
	assert_int_equal(sweep->state, CWD_FAILED);
	move(child(sweep, 1), CWD_QUEUED);
	assert_int_equal(sweep->state, CWD_RUNNING);
	assert_true(sweep->ended == 0);
	begin(child(sweep, 1));
	end(child(sweep, 1), CWD_DONE);
	/* Tried again while the report is being written: that one does not end the sweep. */
	begin(sweep);
	sweep->starting = 1;
	child(sweep, 1)->state = CWD_QUEUED;
	assert_int_equal(cwd_sweep_after_report(&queue, sweep, CWD_DONE), CWD_RUNNING);
	child(sweep, 1)->state = CWD_DONE;
	sweep->starting = 0;
	end(sweep, cwd_sweep_after_report(&queue, sweep, CWD_DONE));
	assert_int_equal(sweep->state, CWD_DONE);
}

/* A running sweep takes no threads, and none of its user's share. */
static void test_schedule(void **state)
{
	struct cwd_job *sweep = add(2), *other;
	char text[256];

	(void)state;
	sweep->resources.threads = 4;
	capacity.threads = 2;
	capacity.running_per_user = 2;
	begin(child(sweep, 0));
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), child(sweep, 1));
	begin(child(sweep, 1));
	other = new_job("other");
	cwd_batch_free(cwd_queue_add(&queue, other, "text"));
	assert_int_equal(cwd_queue_added(&queue, other), 0);
	assert_null(cwd_schedule_next(&queue, &capacity));
	end(child(sweep, 1), CWD_DONE);
	assert_ptr_equal(cwd_schedule_next(&queue, &capacity), other);
	assert_int_equal(cwd_schedule_explain(&queue, &capacity, sweep, 0, text, sizeof text), 1);
	assert_string_equal(text, "1 of 2 jobs have ended: 1 running, 1 done");
	assert_int_equal(cwd_schedule_explain(&queue, &capacity, sweep, 1, text, sizeof text), 0);
}

static void test_remove(void **state)
{
	struct cwd_job *sweep = add(3);
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwd_queue_remove(&queue, sweep, &err), CWP_ESTATE);
	for (size_t i = 0; i < 3; i++) {
		move(child(sweep, i), CWD_CANCELLED);
	}
	assert_int_equal(sweep->state, CWD_CANCELLED);
	assert_int_equal(cwd_queue_remove(&queue, sweep, &err), 0);
	assert_int_equal(queue.n_jobs, 0);
	assert_int_equal(n_removed, 4);
	for (int i = 0; i < CWD_N_STATES; i++) {
		assert_int_equal(queue.counts[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_open_states, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_outcomes, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_reports_that_do_not_come, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_a_job_again, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_schedule, set_up_sweeps, tear_down),
		cmocka_unit_test_setup_teardown(test_remove, set_up_sweeps, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
