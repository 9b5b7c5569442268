// Asks the browser for a passkey: options from the API, the answer into the form, and the form as any other is sent.
"use strict";

const sources = {
  login: (form) => ask("/api/v1/logins/passkey/options", { tenant: form.elements.tenant.value }),
  second: (form) => ask("/api/v1/logins/second/options", { ticket: form.elements.ticket.value }),
  create: (form) => ask("/api/v1/factors/passkeys/options", null, form.dataset.csrf),
  "step-up": async () => ({ options: (await said(await fetch("/api/v1/step-ups"))).passkey }),
};

async function ask(path, body, csrf) {
  const headers = { "content-type": "application/json" };
  if (csrf) headers["fastness-csrf"] = csrf;
  return said(await fetch(path, { method: "POST", headers, body: body ? JSON.stringify(body) : null }));
}

async function said(reply) {
  const found = await reply.json();
  if (reply.ok) return found;
  const step = found.type === "urn:fastness:problem:step-up-required";
  if (step) location.assign("/console/step-up?next=" + encodeURIComponent(location.pathname));
  throw new Error([found.detail, found.hint].filter(Boolean).join(". "));
}

async function answer(form) {
  const { options } = await sources[form.dataset.passkey](form);
  const made = form.dataset.passkey === "create"
    ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  form.elements.response.value = JSON.stringify(made.toJSON());
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const note = form.querySelector("[data-said]");
  const button = form.querySelector("button");
  if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) {
    button.disabled = true;
    note.textContent = "This browser has no passkeys.";
    continue;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    note.textContent = "Waiting for the passkey …";
    answer(form).catch((error) => {
      note.textContent = error.name === "NotAllowedError" ? "No passkey was given." : error.message;
      button.disabled = false;
    });
  });
}
