-- every object has its hash
SELECT goverse.place(kind, id) || ' has no hash yet; any running node of this release fills it in'
FROM goverse.unplaced LIMIT 5
