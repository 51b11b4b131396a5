// Express with ajv: the whole job, as somebody would write it; but for the log.
import http from 'node:http';
import https from 'node:https';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import { createProxyMiddleware, fixRequestBody } from 'http-proxy-middleware';
import { ca, newAjv, pages, rates, run, schema, setting, upstream } from './common.mjs';

run(() => {
  const validate = newAjv().compile(schema);
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  const pool = { keepAlive: true, maxSockets: 512, ca };
  const agent = setting.scheme === 'https' ? new https.Agent(pool) : new http.Agent(pool);
  app.post(
    new RegExp(`^/integrations/external/chats/${setting.uuid}/messages/interactive$`),
    (request, response, next) => {
      if (!rates.has(request.headers.authorization)) return response.status(401).json({ error: 'key' });
      if (!pages.has(request.headers.origin)) return response.status(403).json({ error: 'page' });
      next();
    },
    rateLimit({
      windowMs: 1000,
      limit: (request) => rates.get(request.headers.authorization),
      keyGenerator: (request) => request.headers.authorization,
      validate: false,
    }),
    express.json({ limit: '64kb' }),
    (request, response, next) => validate(request.body) ? next() : response.status(422).json({ errors: validate.errors }),
    createProxyMiddleware({
      target: upstream, changeOrigin: true, agent,
      headers: { authorization: `Bearer ${setting.token}` },
      on: { proxyReq: fixRequestBody },
    }),
  );
  app.use((error, request, response, next) => response.status(error.status || 500).json({ error: 'body' }));
  app.listen({ port: setting.port, host: '127.0.0.1', backlog: 4096 }).keepAliveTimeout = 300000;
});
