/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A child process that may crash, exit or hang without harm. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/plugin/guard.h"

enum { MAX_RESULT = 1 << 20 };

struct child {
	pid_t pid;
	int fd; /* what it writes */
	char *text;
	size_t length;
};

/* This process's handlers would act in the child as if they were here. */
static void reset_signals(void)
{
	static const int signals[] = {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGPIPE, SIGQUIT, SIGSEGV, SIGSYS, SIGTERM,
		SIGTRAP, SIGUSR1, SIGUSR2};
	sigset_t none;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		signal(signals[i], SIG_DFL);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child_main(pid_t parent, int fd, int (*work)(void *arg, int fd), void *arg)
{
	const struct rlimit no_core = {0, 0};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* It must not outlive its parent, not even one that died before this line. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		_exit(EXIT_FAILURE);
	}
	reset_signals();
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	/* Not exit(): the plugin's own exit handlers are none of ours. */
	_exit(work(arg, fd));
}

static int start(struct child *c, int (*work)(void *arg, int fd), void *arg, struct cwb_err *err)
{
	int ends[2];
	pid_t parent = getpid();

	if (pipe2(ends, O_CLOEXEC) < 0) {
		return cwb_err_errno(err, "cannot make a pipe");
	}
	/* What is still in buffers would be written twice if the plugin calls exit(). */
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0) {
		close(ends[0]);
		free(c->text);
		child_main(parent, ends[1], work, arg);
	}
	int saved = errno;
	close(ends[1]);
	if (c->pid < 0) {
		close(ends[0]);
		errno = saved;
		return cwb_err_errno(err, "cannot fork");
	}
	setpgid(c->pid, c->pid);
	c->fd = ends[0];
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	return 0;
}

/* Takes what can be read now. What exceeds the limit is dropped: the document is then incomplete and refused. */
static void drain(struct child *c)
{
	char spill[4096];

	for (;;) {
		size_t room = MAX_RESULT - c->length;
		ssize_t n = room > 0 ? read(c->fd, c->text + c->length, room) : read(c->fd, spill, sizeof(spill));
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return;
		}
		c->length += room > 0 ? (size_t)n : 0;
	}
}

static int has_ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* Until the child has ended. 0: it has; 1: out of time. The end of the pipe says so at once, unless a process that
 * the plugin started holds it open: so the child is asked for now and then as well. */
static int watch(struct child *c, double seconds)
{
	const double deadline = cwb_clock_now() + seconds;
	int slice_ms = 50;

	while (!has_ended(c->pid)) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		if (cwb_clock_now() >= deadline) {
			return 1;
		}
		if (poll(&p, c->fd >= 0 ? 1 : 0, slice_ms) > 0) {
			drain(c);
			if ((p.revents & POLLHUP) != 0) {
				close(c->fd);
				c->fd = -1;
				slice_ms = 1;
			}
		}
	}
	if (c->fd >= 0) {
		drain(c);
	}
	return 0;
}

static int finish(struct child *c, int late, double seconds, const char *path, int *ret_status, struct cwb_err *err)
{
	int status = 0;

	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (late) {
		return cwb_err_set(err, CWP_EPLUGIN,
			"%s: did not finish loading within %g seconds; its constructors and get_interface must return at once", path, seconds);
	}
	if (WIFSIGNALED(status)) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: crashed while it was loaded (signal %d, %s); report it to the plugin's vendor",
			path, WTERMSIG(status), strsignal(WTERMSIG(status)));
	}
	*ret_status = WEXITSTATUS(status);
	return 0;
}

int cwe_guard_run(double seconds, int (*work)(void *arg, int fd), void *arg, const char *path, char **ret_text, size_t *ret_length,
	int *ret_status, struct cwb_err *err)
{
	struct child c = {.pid = -1, .fd = -1};
	int rc = 0;

	c.text = malloc(MAX_RESULT + 1);
	if (c.text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the result of %s", path);
	}
	rc = start(&c, work, arg, err);
	if (c.pid > 0) {
		int late = rc == 0 ? watch(&c, seconds) : 0;
		int ended = finish(&c, late, seconds, path, ret_status, err);
		rc = rc == 0 ? ended : rc;
	}
	if (c.fd >= 0) {
		close(c.fd);
	}
	if (rc < 0) {
		free(c.text);
		return rc;
	}
	c.text[c.length] = '\0';
	*ret_text = c.text;
	*ret_length = c.length;
	return 0;
}

int cwe_guard_write(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, text, length);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		text += n;
		length -= (size_t)n;
	}
	return 0;
}
