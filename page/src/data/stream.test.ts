import { MessageParser } from "./stream.ts";

function equal(found: unknown, expected: unknown) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  }
}

Deno.test("messages are put together from pieces that are cut anywhere", () => {
  const whole = 'event: step\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: ping\r\n\r\ndata: last\n\n';
  for (let at = 0; at <= whole.length; at++) {
    const parser = new MessageParser();
    const found = [...parser.parse(whole.slice(0, at)), ...parser.parse(whole.slice(at))];
    equal(found, [{ event: "step", data: '{"a":\n1}' }, { event: "message", data: "last" }]);
  }
});
