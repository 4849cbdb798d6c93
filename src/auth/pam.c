/*
 * Method pam: the PAM service "pgbouncer" judges the client's password.
 *
 * Modules block, and few of them were written with threads in mind: one at a
 * time, in a helper thread of its own.
 *
 * Rules: behaviour specification, section 6; pam(3), pam_conv(3).
 * Tests: test/system/test_pam.py
 */
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "auth/password.h"
#include "lib/mem.h"

#define SERVICE_NAME "pgbouncer"

static const char failure_text[] = "PAM authentication failed";

/* Called by modules. The answers are theirs to free. */
static int converse(int n, const struct pam_message **messages, struct pam_response **answers, void *password)
{
	struct pam_response *out;

	if (n <= 0 || n > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	out = calloc((size_t)n, sizeof(*out));
	if (!out)
		return PAM_BUF_ERR;
	for (int i = 0; i < n; i++)
		/* Whatever it wants to hear unseen is the password; there is nobody to be shown anything. */
		if (messages[i]->msg_style == PAM_PROMPT_ECHO_OFF) {
			out[i].resp = strdup(password);
			if (!out[i].resp)
				goto failed;
		} else if (messages[i]->msg_style == PAM_PROMPT_ECHO_ON)
			goto failed;
	*answers = out;
	return PAM_SUCCESS;
failed:
	for (int i = 0; i < n; i++)
		str_wipe_free(out[i].resp);
	free(out);
	return PAM_CONV_ERR;
}

static int open_service(const char *user, const struct pam_conv *conv, pam_handle_t **pam)
{
#if defined(DEVELOPER) && defined(HAVE_PAM_START_CONFDIR)
	/* For tests: the services of the machine are not theirs to change. */
	const char *dir = getenv("PGECDSA_PAM_DIR");

	if (dir)
		return pam_start_confdir(SERVICE_NAME, user, conv, dir, pam);
#endif
	return pam_start(SERVICE_NAME, user, conv, pam);
}

static enum auth_verdict pam_begin(struct auth *a, struct buf *out)
{
	return password_ask(a, out);
}

static enum auth_verdict pam_message_taken(struct auth *a, struct span body, struct buf *out)
{
	(void)out;
	return password_take(a, body, failure_text);
}

static void pam_work(struct auth *a)
{
	struct password_state *s = a->state;
	const struct pam_conv conv = {.conv = converse, .appdata_ptr = s->password};
	pam_handle_t *pam = NULL;
	const char *step = "pam_start";
	int err = open_service(a->in->user, &conv, &pam);

	if (err == PAM_SUCCESS && a->in->remote_host) {
		step = "pam_set_item(PAM_RHOST)";
		err = pam_set_item(pam, PAM_RHOST, a->in->remote_host);
	}
	if (err == PAM_SUCCESS) {
		step = "pam_authenticate";
		err = pam_authenticate(pam, PAM_SILENT);
	}
	if (err == PAM_SUCCESS) {
		step = "pam_acct_mgmt";
		err = pam_acct_mgmt(pam, PAM_SILENT);
	}
	s->is_good = err == PAM_SUCCESS;
	if (!s->is_good)
		snprintf(s->reason, sizeof(s->reason), "%s failed: %s", step, pam ? pam_strerror(pam, err) : "no PAM");
	if (pam)
		pam_end(pam, err);
}

static enum auth_verdict pam_resume(struct auth *a, struct buf *out)
{
	(void)out;
	return password_verdict(a, failure_text);
}

const struct auth_method method_pam = {
	.max_body = AUTH_BODY_MAX,
	.queue = NEED_PAM,
	.start = pam_begin,
	.message = pam_message_taken,
	.work = pam_work,
	.resume = pam_resume,
	.end = password_end,
};
