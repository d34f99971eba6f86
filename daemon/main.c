/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cwpd: options, settings, and then the daemon. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/log.h"

static const char usage[] =
	"Usage: cwpd [--config FILE] [--check-config]\n"
	"Queues and runs jobs that quantize language models. Without --config, and not started by "
	"systemd, it serves\n"
	"the user who starts it, below $XDG_RUNTIME_DIR/cwp and $XDG_STATE_HOME/cwp.\n"
	"\n"
	"      --config FILE    read this configuration\n"
	"      --check-config   check the configuration, say what is wrong with it, and exit\n"
	"      --help           print this text\n"
	"      --version        print the version\n"
	"\n"
	"See cwpd(8).\n";

static int check_only(const struct cwd_settings *settings)
{
	printf("%s: fine\n",
		settings->config == NULL ? "no configuration file, defaults" : settings->config);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, 'k'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
	const char *config = NULL;
	struct cwd_settings settings;
	struct cwb_err err = {0};
	int option, check = 0, code;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 'k':
			check = 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'v':
			puts("cwpd " PACKAGE_VERSION);
			return 0;
		default:
			fputs(usage, stderr);
			return 64;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "cwpd: unexpected argument: %s\n%s", argv[optind], usage);
		return 64;
	}
	if (cwd_settings_read(config, &settings, &err) < 0) {
		cwd_log(CWD_LOG_ERROR, "%s", err.message);
		cwd_settings_free(&settings);
		return 78;
	}
	if (check) {
		code = check_only(&settings);
		cwd_settings_free(&settings);
		return code;
	}
	umask(settings.user_mode ? 0077 : 0027);
	if (settings.user_mode && geteuid() == 0) {
		cwd_log(CWD_LOG_WARNING, "serving root as an ordinary user; a system daemon has "
					 "its own user (cwpd.service)");
	}
	code = cwd_daemon_run(&settings, config);
	uv_library_shutdown(); /* its threads end before the libraries that they used clean up */
	return code;
}
