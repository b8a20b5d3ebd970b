/** `/login`: a password or an access token, where the page can be reached from other machines. */
import { useState } from "preact/hooks";
import { logIn, ownPath, session } from "../data/session.ts";
import { useAddress } from "../parts/address.ts";
import { Heading, Notice } from "../parts/basics.tsx";

const TOKEN = /^yta_/;

export function Login() {
  const address = useAddress();
  const next = ownPath(address.get("next"));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  if (session.value && !session.value.needed) {
    return (
      <>
        <Heading title="Log in" />
        <Notice kind="good">
          <p>
            {session.value.logged_in ? "You have logged in." : "No login is needed from here."} <a href={next}>Go on</a>
          </p>
        </Notice>
      </>
    );
  }
  const submit = async (form: HTMLFormElement) => {
    const given = String(new FormData(form).get("secret") ?? "").trim();
    setBusy(true);
    setProblem("");
    try {
      await logIn(TOKEN.test(given) ? { token: given } : { password: given });
      location.assign(next); // everything is read anew
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <>
      <Heading title="Log in" about="This archive can be reached from other machines, so it asks who you are." />
      <form
        class="login"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(event.currentTarget);
        }}
      >
        <label for="secret">Password, or an access token</label>
        <input
          id="secret"
          name="secret"
          type="password"
          autocomplete="current-password"
          required
          aria-describedby="login-problem"
        />
        <p id="login-problem" role="alert" class="act-error">{problem}</p>
        <button type="submit" class="primary" disabled={busy}>{busy ? "Asking…" : "Log in"}</button>
        {session.value && !session.value.password && (
          <p class="small">
            No password is set. On the machine of the archive: <code>ytarchive auth password</code>.
          </p>
        )}
      </form>
    </>
  );
}
