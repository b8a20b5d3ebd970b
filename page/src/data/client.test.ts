import { fileUrl, urlOf } from "./client.ts";

const equal = (found: string, wanted: string) => {
  if (found !== wanted) throw new Error(`${found} instead of ${wanted}`);
};

Deno.test("parts of a path and values of a query are encoded, unset ones are left out", () => {
  equal(
    urlOf("/api/v1/jobs/{job_id}", { job_id: "a/b ?" }, { limit: 5, status: undefined, q: "" }),
    "/api/v1/jobs/a%2Fb%20%3F?limit=5",
  );
});

Deno.test("the name of a file keeps its folders", () => {
  equal(
    fileUrl("abc", "captions/a#b_en.vtt", "/data/my archive"),
    "/api/v1/storage/videos/abc/files/captions/a%23b_en.vtt?root=%2Fdata%2Fmy+archive",
  );
});
