-- The customers of a country, or all.
SELECT id, name
  FROM customers
 WHERE :country IS NULL
    OR country = :country;
