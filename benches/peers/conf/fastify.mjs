// Fastify with ajv: the whole job, as somebody would write it.
import Fastify from 'fastify';
import rateLimit from '@fastify/rate-limit';
import replyFrom from '@fastify/reply-from';
import { ca, newAjv, pages, rates, run, schema, setting, upstream } from './common.mjs';

run(async () => {
  const app = Fastify({ logger: { file: `${setting.directory}/access.log` }, bodyLimit: 65536, keepAliveTimeout: 300000 });
  const ajv = newAjv();
  app.setValidatorCompiler(({ schema }) => ajv.compile(schema));
  await app.register(replyFrom, {
    base: upstream,
    undici: { connections: 512, pipelining: 1, keepAliveTimeout: 300000, connect: { ca } },
  });
  app.addHook('onRequest', async (request, reply) => {
    if (!rates.has(request.headers.authorization)) return reply.code(401).send({ error: 'key' });
    if (!pages.has(request.headers.origin)) return reply.code(403).send({ error: 'page' });
  });
  await app.register(rateLimit, { global: false });
  app.post(`/integrations/external/chats/:id(^${setting.uuid}$)/messages/interactive`, {
    schema: { body: schema },
    config: { rateLimit: {
      timeWindow: 1000,
      max: (request) => rates.get(request.headers.authorization),
      keyGenerator: (request) => request.headers.authorization,
    } },
  }, (request, reply) => reply.from(request.url, {
    rewriteRequestHeaders: (_, headers) => ({ ...headers, authorization: `Bearer ${setting.token}` }),
  }));
  await app.listen({ port: setting.port, host: '127.0.0.1', backlog: 4096 });
});
