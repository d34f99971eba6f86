/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Signals, control messages and the time limit. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/message.h"
#include "worker/control.h"

static struct cwe_host *_Atomic watched; /* NULL between two runs */
static atomic_int reason;

static void stop(enum cwk_stop why)
{
	int none = CWK_STOP_NONE;
	(void)atomic_compare_exchange_strong(&reason, &none, (int)why);
	struct cwe_host *host = atomic_load(&watched);
	if (host != NULL) {
		atomic_store(&host->cancelled, 1);
	}
}

static void on_signal(int number)
{
	stop(number == SIGALRM ? CWK_STOP_TIME : CWK_STOP_TERM);
}

struct channel {
	int fd;
	struct cww_reader reader;
};

static void take_messages(struct channel *c)
{
	json_t *message = NULL;
	int r;
	while ((r = cww_reader_next(&c->reader, &message, NULL)) == 1) {
		if (json_is_true(json_object_get(message, "cancel"))) {
			stop(CWK_STOP_CANCEL);
		}
		json_decref(message);
	}
	if (r < 0) {
		_exit(1); /* a daemon that speaks nonsense is none */
	}
}

static void *listen_channel(void *arg)
{
	struct channel *c = arg;
	char buffer[4096];
	take_messages(c);
	for (;;) {
		ssize_t n = read(c->fd, buffer, sizeof buffer);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			/* The daemon is gone. Its successor starts the job again and takes the output's lock. */
			_exit(1);
		}
		if (cww_reader_feed(&c->reader, buffer, (size_t)n, NULL) != 0) {
			_exit(1);
		}
		take_messages(c);
	}
	return NULL;
}

static int start_channel(int fd, const char *control, size_t length, struct cwb_err *err)
{
	struct channel *c = calloc(1, sizeof *c);
	pthread_t thread;
	sigset_t all, old;
	if (c == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the control channel");
	}
	c->fd = fd;
	cww_reader_init(&c->reader);
	int r = length > 0 ? cww_reader_feed(&c->reader, control, length, err) : 0;
	if (r == 0) {
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_BLOCK, &all, &old);
		r = pthread_create(&thread, NULL, listen_channel, c);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (r == 0) {
			(void)pthread_detach(thread);
			return 0;
		}
		r = cwb_err_set(err, -r, "the control channel's thread cannot start");
	}
	cww_reader_free(&c->reader);
	free(c);
	return r;
}

int cwk_control_start(struct cwe_host *host, int control_fd, const char *control, size_t length, uint64_t seconds,
	struct cwb_err *err)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	atomic_store(&watched, host);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGALRM, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a write that fails says more */
	if (seconds > 0) {
		(void)alarm(seconds > 0x7fffffff ? 0x7fffffff : (unsigned)seconds);
	}
	return control_fd >= 0 ? start_channel(control_fd, control, length, err) : 0;
}

enum cwk_stop cwk_control_reason(void)
{
	return (enum cwk_stop)atomic_load(&reason);
}

void cwk_control_end(void)
{
	int time = CWK_STOP_TIME;
	(void)alarm(0);
	atomic_store(&watched, NULL);
	(void)atomic_compare_exchange_strong(&reason, &time, (int)CWK_STOP_NONE);
}
