// A real OpenID provider on the loopback, for the tests: node provider.mjs '{"port":…, "keys":[…], "clients":[…], "people":{…}}'
// Whoever is named by `login_hint` is logged in without being asked; the first line printed says that it listens.
import http from 'node:http';
import { Provider } from 'oidc-provider';

const given = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${given.port}`;

const provider = new Provider(issuer, {
  clients: given.clients,
  jwks: { keys: given.keys },
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  acrValues: ['urn:strong', 'urn:weak'],
  claims: {
    openid: ['sub', 'acr', 'amr', 'auth_time'],
    email: ['email', 'email_verified'],
    profile: ['preferred_username', 'groups'],
  },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...given.people[id] }) }),
});

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    const id = params.login_hint ?? given.login;
    const { acr, amr } = given.people[id] ?? {};
    return provider.interactionFinished(request, response, { login: { accountId: id, acr, amr } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const grantId = await grant.save();
  return provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
}

const handle = provider.callback();
http
  .createServer((request, response) => {
    if (!request.url.startsWith('/interaction/')) return handle(request, response);
    return interact(request, response).catch((error) => response.writeHead(500).end(String(error)));
  })
  .listen(given.port, '127.0.0.1', () => console.log('listening'));
