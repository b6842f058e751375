-- Größe
SELECT oid, relname
  FROM pg_class WHERE oid = :id::int8
   AND nmae = 'ü';
